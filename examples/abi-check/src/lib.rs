//! PCI devices that stay configured over a live update: a component of another project, with what
//! lies in memory and its registration.

pub mod abi;
