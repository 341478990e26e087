//! What can be told without a kernel that runs the live update orchestrator.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use liveupdate::{Device, Error, Session};

#[test]
fn a_path_without_a_device_is_not_supported() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("liveupdate");
    let error = Device::open_at(&path).unwrap_err();
    let text = error.to_string();
    let Error::NotSupported { path: found, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(found, path);
    assert!(text.contains("CONFIG_LIVEUPDATE"), "{text}");
    assert!(text.contains("liveupdate=on"), "{text}");
}

#[test]
fn other_files_are_not_the_device_and_not_asked() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (file, dir) = (file.path(), dir.path());
    for (path, expected) in [
        (file, "a regular file"),
        (dir, "a directory"),
        ("/dev/null".as_ref(), "a character device of major number 1"),
    ] {
        let error = Device::open_at(path).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::WrongFile { .. }), "{error:?}");
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains(&format!("found {expected}")), "{text}");
        assert!(text.contains("expected /dev/liveupdate"), "{text}");
    }
}

#[test]
fn a_descriptor_that_is_none_is_given_back() {
    let socket: OwnedFd = UnixStream::pair().unwrap().0.into();
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    for (fd, found) in [
        (socket, "a socket"),
        (null, "a character device"),
        (file, "a file that does not know the call"),
    ] {
        let number = fd.as_raw_fd();
        let rejected = Session::from_fd(fd).unwrap_err();
        let text = rejected.to_string();
        assert!(text.contains(found), "{text}");
        assert!(text.contains("a session of /dev/liveupdate"), "{text}");
        let rejected = Device::from_fd(rejected.given).unwrap_err();
        assert!(matches!(rejected.error, Error::WrongFile { .. }));
        assert_eq!(rejected.given.as_raw_fd(), number);
    }
}
