//! What is linked for a target without an operating system works.

use bare_example::{journey, read, registry, take_over, write};

#[test]
fn a_handover_is_written_and_read_back() {
    assert_eq!(journey().unwrap(), 12 + 10_000);
}

#[test]
fn files_are_read_and_taken_over_as_they_were_written() {
    let registry = registry().unwrap();
    let files: [&[u8]; 2] = [b"one", &[7; 3 * 4096 + 1]];
    let (handed, entry) = write(&registry, &files).unwrap();
    assert_eq!(read(&registry, &handed, entry).unwrap(), files);
    assert_eq!(take_over(&registry, handed, entry).unwrap(), files);
}
