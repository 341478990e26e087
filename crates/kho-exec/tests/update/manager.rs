//! A service manager that stores descriptors.

use super::*;

/// A service manager's descriptor store: reads what it is told until it is stopped.
struct Manager {
    socket: UnixDatagram,
    held: Arc<Mutex<BTreeMap<String, OwnedFd>>>,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let held = Arc::new(Mutex::new(BTreeMap::new()));
        let (reader, store) = (socket.try_clone().unwrap(), Arc::clone(&held));
        std::thread::spawn(move || {
            loop {
                let mut bytes = [0; 256];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
                let mut beside = RecvAncillaryBuffer::new(&mut space);
                let mut vector = [IoSliceMut::new(&mut bytes)];
                let received =
                    recvmsg(&reader, &mut vector, &mut beside, RecvFlags::empty()).unwrap();
                let fds = beside.drain().flat_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
                    _ => Vec::new(),
                });
                let fds: Vec<OwnedFd> = fds.collect();
                let text = String::from_utf8(bytes[..received.bytes].to_vec()).unwrap();
                let Some(name) = text.lines().find_map(|line| line.strip_prefix("FDNAME=")) else {
                    return;
                };
                let mut held = store.lock().unwrap();
                if text.contains("FDSTOREREMOVE=1") {
                    held.remove(name);
                } else {
                    held.insert(name.to_owned(), fds.into_iter().next().unwrap());
                }
            }
        });
        Self { socket, held }
    }

    /// What it holds, once it has read all that was sent.
    fn held(&self, path: &Path) -> BTreeMap<String, OwnedFd> {
        while rustix::io::ioctl_fionread(&self.socket).unwrap() > 0 {
            std::thread::yield_now();
        }
        // Two more behind: when the second is received, the first and all before it are handled.
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(path).unwrap();
        for _ in 0..2 {
            sender.send(b"FDSTOREREMOVE=1\nFDNAME=none").unwrap();
            while rustix::io::ioctl_fionread(&self.socket).unwrap() > 0 {
                std::thread::yield_now();
            }
        }
        let held = self.held.lock().unwrap();
        held.iter()
            .map(|(name, fd)| (name.clone(), fd.try_clone().unwrap()))
            .collect()
    }
}

#[test]
fn a_service_managers_store_brings_the_state_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::new(&path);
    // Generation 1 dies before it has finished; nobody else is left.
    let output = command(dir.path(), "next next end", "retrieved@1")
        .env("NOTIFY_SOCKET", &path)
        .output()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(9)
    );
    let held = manager.held(&path);
    assert!(
        held.len() >= 4 && held.contains_key("kho-ticket"),
        "ticket, arena, program, pipe: {held:?}"
    );

    // The manager starts the service again and passes what it holds from descriptor 3 on.
    let names: Vec<_> = held.keys().cloned().collect();
    let mut shell = started_again(dir.path(), "next next end", &names, held.into_values());
    shell.env("NOTIFY_SOCKET", &path);
    let output = shell.output().unwrap();
    let log = read_log(dir.path());
    assert!(output.status.success(), "{log:?} {output:?}");
    assert!(
        log[1].contains("generation 0")
            && log[1].contains("has \"0;\" returned: the program ended"),
        "{log:?}"
    );
    assert_eq!(log.last().unwrap(), "end of generation 2 with \"0;1;2;\"");
    assert_eq!(
        manager.held(&path).into_keys().collect::<Vec<_>>(),
        Vec::<String>::new(),
        "finished: the store is empty again"
    );
}

/// What waits in `socket`, without waiting for more.
fn drain(socket: &UnixDatagram) -> Vec<(String, Vec<OwnedFd>)> {
    let mut all = Vec::new();
    loop {
        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut vector = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::DONTWAIT;
        let Ok(received) = recvmsg(socket, &mut vector, &mut beside, flags) else {
            return all;
        };
        let fds = beside.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        let fds = fds.collect();
        all.push((
            String::from_utf8(bytes[..received.bytes].to_vec()).unwrap(),
            fds,
        ));
    }
}

#[test]
fn finishing_does_not_wait_for_a_manager_that_does_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.connect(&path).unwrap();
    filler.set_nonblocking(true).unwrap();
    let room = std::iter::repeat_with(|| filler.send(b"x"))
        .take_while(Result::is_ok)
        .count();
    drain(&socket);
    // Room for one handover (arena, program, pipe, ticket), and not for a word more.
    for _ in 4..room {
        filler.send(b"x").unwrap();
    }
    let since = Instant::now();
    let output = command(dir.path(), "next end", "")
        .env("NOTIFY_SOCKET", &path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        since.elapsed() < Duration::from_millis(900),
        "{:?}",
        since.elapsed()
    );
    let log = read_log(dir.path());
    assert_eq!(log.last().unwrap(), "end of generation 1 with \"0;1;\"");

    // The manager was not told, and starts the service again with what it stores: it begins afresh.
    let mut stored = drain(&socket);
    stored.retain(|(text, _)| text.starts_with("FDSTORE=1\n"));
    let names: Vec<_> = stored
        .iter()
        .map(|(text, _)| text.rsplit('=').next().unwrap().to_owned())
        .collect();
    assert_eq!((names.len(), names[3].as_str()), (4, "kho-ticket"));
    let fds = stored.into_iter().flat_map(|(_, fds)| fds);
    let mut shell = started_again(dir.path(), "end", &names, fds);
    let output = shell.output().unwrap();
    let log = read_log(dir.path());
    assert!(output.status.success(), "{log:?} {output:?}");
    assert_eq!(log.last().unwrap(), "end of generation 0 with \"0;\"");
}

/// The program as a service manager starts it, with what it stores from descriptor 3 on.
fn started_again(
    dir: &Path,
    plan: &str,
    names: &[String],
    fds: impl IntoIterator<Item = OwnedFd>,
) -> Command {
    let mut shell = Command::new("sh");
    let exe = std::env::current_exe().unwrap();
    let script = "LISTEN_PID=$$ exec \"$0\" --exact program --nocapture --test-threads 1";
    shell.arg("-c").arg(script).arg(exe);
    shell.env(ROLE, dir).env(PLAN, plan);
    shell.env("LISTEN_FDS", names.len().to_string());
    shell.env("LISTEN_FDNAMES", names.join(":"));
    let mappings = fds
        .into_iter()
        .zip(3..)
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
    shell.fd_mappings(mappings.collect()).unwrap();
    shell
}
