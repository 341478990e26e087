//! Archives as the kernel unpacks them into its initramfs: "newc".

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    inodes: u32,
}

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER: u32 = 0o020_000;
const END: &str = "TRAILER!!!";

impl Cpio {
    /// An archive of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the directory `path`, without a slash before it.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, 2, (0, 0), &[]);
    }

    /// Adds the file `path`, which may be executed.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.entry(path, REGULAR | 0o755, 1, (0, 0), contents);
    }

    /// Adds the character device `path` of the numbers `device`.
    pub fn character(&mut self, path: &str, device: (u32, u32)) {
        self.entry(path, CHARACTER | 0o600, 1, device, &[]);
    }

    /// The archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.entry(END, 0, 1, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, links: u32, device: (u32, u32), contents: &[u8]) {
        self.inodes += 1;
        let inode = if path == END { 0 } else { self.inodes };
        // An initramfs is far smaller than what the field holds; a longer one would not unpack.
        let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let (major, minor) = device;
        let fields = [
            inode, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        let len = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(len, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_byte_by_byte() {
        let mut cpio = Cpio::new();
        cpio.file("a", b"xyz");
        let mut expected = Vec::new();
        expected.extend(b"070701"); // magic
        expected.extend(b"00000001"); // inode
        expected.extend(b"000081ED"); // mode: a regular file, rwxr-xr-x
        expected.extend(b"00000000"); // owner
        expected.extend(b"00000000"); // group
        expected.extend(b"00000001"); // links
        expected.extend(b"00000000"); // time
        expected.extend(b"00000003"); // bytes
        expected.extend(b"00000000"); // device, major
        expected.extend(b"00000000"); // device, minor
        expected.extend(b"00000000"); // of a device node, major
        expected.extend(b"00000000"); // of a device node, minor
        expected.extend(b"00000002"); // bytes of the name, NUL included
        expected.extend(b"00000000"); // checksum, not used
        expected.extend(b"a\0"); // 112 bytes so far
        expected.extend(b"xyz\0"); // contents, to a multiple of 4
        let end = [&b"070701"[..], &[b'0'; 32], b"00000001", &[b'0'; 48]].concat();
        expected.extend(end);
        expected.extend(b"0000000B00000000TRAILER!!!\0\0\0\0");
        let found = cpio.finish();
        assert_eq!(
            String::from_utf8_lossy(&found),
            String::from_utf8_lossy(&expected)
        );
    }

    #[test]
    fn a_device_has_its_numbers() {
        let mut cpio = Cpio::new();
        cpio.directory("dev");
        cpio.character("dev/console", (5, 1));
        let text = String::from_utf8(cpio.finish()).unwrap();
        assert!(text.contains("000041ED"), "a directory");
        assert!(text.contains("00000005000000010000000C00000000dev/console"));
    }
}
