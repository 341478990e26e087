//! The example as a program: with what a target without an operating system needs around it, or on
//! this machine.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod bare;

#[cfg(not(target_os = "none"))]
fn main() -> Result<(), bare_example::Failure> {
    println!("{} bytes of memfds", bare_example::journey()?);
    Ok(())
}
