//! The configuration that a kernel with `CONFIG_IKCONFIG` has in its data.

use std::io::Read;

use memchr::memmem;

/// No configuration is longer.
const CONFIG_MAX: u64 = 4 << 20;

/// The configuration in `data`, the unpacked image: gzip between two marks.
pub(super) fn embedded(data: &[u8]) -> Option<String> {
    const START: &[u8] = b"IKCFG_ST\x1f\x8b";
    const MAGIC: usize = 2;
    let start = memmem::find(data, START)? + START.len() - MAGIC;
    let packed = data.get(start..)?;
    let packed = packed.get(..memmem::find(packed, b"IKCFG_ED")?)?;
    let mut text = String::new();
    let unpacked = flate2::read::GzDecoder::new(packed).take(CONFIG_MAX);
    let whole = { unpacked }.read_to_string(&mut text).is_ok();
    (whole && text.contains("CONFIG_")).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_configuration_stands_between_two_marks() {
        let config = "# CONFIG_KEXEC is not set\nCONFIG_LIVEUPDATE=y\n";
        let image = |packed: &[u8]| [b"text", &b"IKCFG_ST"[..], packed, b"IKCFG_ED..."].concat();
        assert_eq!(embedded(&image(&packed(config))).as_deref(), Some(config));
        assert_eq!(embedded(&image(&packed("no configuration"))), None);
        let mut cut = packed(config);
        cut.truncate(20);
        assert_eq!(embedded(&image(&cut)), None);
        assert_eq!(embedded(b"IKCFG_ST IKCFG_ED"), None);
    }
}
