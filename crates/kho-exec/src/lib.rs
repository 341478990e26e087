//! Live updates between processes: a program hands its memory and its descriptors over to the next
//! one by exec.
//!
//! A [`Host`] is a process that takes part: it takes over what a predecessor left
//! ([`Host::retrieve`], [`Host::finish`]), and hands over in turn ([`Host::hand_over`]). In between,
//! state lives in files over its arena.
//!
//! What can go wrong, and what becomes of the state:
//!
//! | what | what happens |
//! |---|---|
//! | a file can not be preserved or frozen | nothing: the error says which; the program goes on |
//! | the exec fails | everything is unfrozen; the program goes on |
//! | the next program refuses when it starts (version, damage, a handler it has not) | it executes the previous program again, with the handover untouched |
//! | optional parts alone are of a version that the next program does not read | the same, unless it takes the rest ([`Config::degrade`]) |
//! | the next program can not make a file, or does not like it | [`Host::hand_back`] does the same, until it has finished |
//! | the next program dies before it has finished, under [`supervise`] | the previous program is started again, with the handover untouched |
//! | the same under systemd with a file descriptor store | the service is started again, and finds the handover |
//! | the same without either | the state is lost, as in any crash |
//! | a program dies while it serves | its state is lost, as in any crash: it had not been handed over |
//!
//! The README has an example.

mod arrival;
mod channel;
mod config;
mod error;
mod exec;
mod faults;
mod host;
mod inherit;
mod program;
mod store;
mod supervise;
mod ticket;
#[doc(hidden)]
pub mod wire;

pub use channel::SUPERVISOR;
pub use config::{Config, POLICY_ENV};
pub use error::{FinishError, HandOverError, StartError};
pub use faults::FAULTS_ENV;
pub use host::Host;
pub use inherit::{HANDOVER_ENV, SUPERVISOR_ENV};
pub use kho_compat::answer_manifest;
pub use kho_luo::FileRef;
pub use program::Program;
pub use supervise::{Event, supervise, supervise_within};
pub use ticket::{Mark, TICKET, now};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// The guide lies outside the crate; its examples are compiled with it.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
