//! Memory, cut down to what a handover reaches, as a small file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kho_core::{Entry, Handover};
use kho_image::{ImageOptions, write_elf};
use kho_mem::{PageRun, PhysMem};
use serde_json::Value;

use crate::failure::{Failure, of_file};
use crate::image::open;
use crate::reading;

/// As small as is worth the time.
const LEVEL: i32 = 19;
const SUFFIX: &str = ".core.zst";

/// Writes what the handover at `entry` of `memory` reaches to `out`, an ELF core that is compressed where
/// its name says so, and `facts` beside it.
pub(crate) fn write(
    memory: &dyn PhysMem,
    entry: Entry,
    facts: &Value,
    out: &Path,
) -> Result<u64, Failure> {
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty());
    let staged = tempfile::Builder::new()
        .prefix(".capture-")
        .tempdir_in(dir.unwrap_or(Path::new(".")));
    let staged = staged.map_err(|error| Failure::of(out.display(), error))?;
    let core = staged.path().join("core");
    let runs = reached(memory, entry)?;
    write_elf(&core, memory, &runs, &mut |_, _| true)
        .map_err(|error| Failure::of(out.display(), error))?;
    let compressed = out.extension().is_some_and(|ext| ext == "zst");
    let image = match compressed {
        true => compress(&core, &staged.path().join("zst"))?,
        false => core,
    };
    // What was cut is the same handover.
    let cut = open(&image, &ImageOptions::default())?;
    if reading::read(&cut, entry)?.facts != *facts {
        let text = "what was cut out of memory reads otherwise than the memory".to_owned();
        return Err(Failure::Failed(text));
    }
    let len = fs::metadata(&image).map_err(of_file(&image))?.len();
    fs::rename(&image, out).map_err(of_file(out))?;
    let beside = facts_path(out);
    // One space, as the captures' facts have it.
    let text = indented(facts).map_err(|error| Failure::of(beside.display(), error))?;
    fs::write(&beside, text).map_err(of_file(&beside))?;
    Ok(len)
}

/// Where the facts of the capture `out` go.
fn facts_path(out: &Path) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(SUFFIX).unwrap_or(&name);
    out.with_file_name(format!("{stem}.facts.json"))
}

fn indented(value: &Value) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut to = serde_json::Serializer::with_formatter(&mut out, style);
    serde::Serialize::serialize(value, &mut to)?;
    out.push(b'\n');
    Ok(out)
}

fn compress(core: &Path, to: &Path) -> Result<PathBuf, Failure> {
    let from = File::open(core).map_err(of_file(core))?;
    let file = File::create_new(to).map_err(of_file(to))?;
    zstd::stream::copy_encode(io::BufReader::new(from), file, LEVEL).map_err(of_file(to))?;
    Ok(to.to_owned())
}

/// The pages that the handover reaches.
fn reached(memory: &dyn PhysMem, entry: Entry) -> Result<Vec<PageRun>, Failure> {
    let handover = Handover::open(memory, entry);
    let handover = handover.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(handover.page_runs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_beside() {
        let beside = |out: &str| facts_path(Path::new(out)).display().to_string();
        assert_eq!(beside("dir/small.core.zst"), "dir/small.facts.json");
        assert_eq!(beside("some.core"), "some.core.facts.json");
    }
}
