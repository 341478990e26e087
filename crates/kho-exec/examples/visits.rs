//! The smallest service that keeps its state: it counts its visitors, and after a SIGHUP the next
//! visit is the last one that this program answers.
//!
//! ```console
//! $ cargo run --release --example visits &
//! listening on 127.0.0.1:7380
//! $ cat </dev/tcp/127.0.0.1/7380
//! visit 1, upgrade 0
//! ```

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kho_exec::{Config, FileRef, Host};
use kho_fd::FdFile;
use kho_memfd::MemFile;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Asked what it takes over, it says so and does nothing else.
    let config = Config::new();
    kho_exec::answer_manifest!(config);
    // Before anything else: where nobody listens, SIGHUP ends a program.
    let hangup = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&hangup))?;
    let program = std::env::current_exe()?;
    let address = std::env::args().nth(1);

    // 1. Take over what a predecessor left, or begin with an empty arena.
    let mut host = Host::start(config)?;
    // 2. Ask for each file, by session and token. `None`: there was no predecessor.
    let count = host.retrieve::<MemFile>("visits", 1)?;
    let socket = host.retrieve::<FdFile>("visits", 2)?;
    // 3. They are ours now. Until here they could only be read, and everything could go back.
    host.finish()?;

    let count = count.unwrap_or_else(|| Arc::new(MemFile::new(host.arena())));
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:7380"))?;
            println!("listening on {}", listener.local_addr()?);
            Arc::new(FdFile::from(listener))
        }
    };
    let listener = TcpListener::from(socket.duplicate()?);
    loop {
        // 4. Serve. What is to be kept is kept in the file.
        let (mut visitor, _) = listener.accept()?;
        let mut bytes = [0; 8];
        count.read_at(0, &mut bytes)?;
        let number = u64::from_le_bytes(bytes) + 1;
        count.write_at(0, &number.to_le_bytes())?;
        writeln!(visitor, "visit {number}, upgrade {}", host.generation())?;
        if hangup.swap(false, Ordering::Relaxed) {
            // 5. Hand over to whatever program is there now. This returns only if it failed.
            let files: [(u64, FileRef); 2] = [(1, count.clone()), (2, socket.clone())];
            let failed = host.hand_over("visits", files, Command::new(&program));
            eprintln!("went on: {failed}");
        }
    }
}
