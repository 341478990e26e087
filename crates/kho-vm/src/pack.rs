//! A directory of files as a handover, by `kho pack`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::command::run;
use crate::failure::{Failure, of_file};
use crate::place;

/// An object bound to the life of files, as a kernel expects it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flb {
    pub(crate) name: String,
    pub(crate) data: u64,
}

/// What a kernel with CONFIG_LIVEUPDATE_TEST binds to every memfd, and looks for in a handover that has
/// one: the data is a number that it knows, and one more for each.
pub(crate) fn test_flbs() -> Vec<Flb> {
    (0..3)
        .map(|n| Flb {
            name: format!("liveupdate-test-flb-v{n}"),
            data: 0xfeed_f00d_cafe_bee0 + n,
        })
        .collect()
}

const MANIFEST: &str = "manifest.json";

/// Packs the directory `dir` into an image in `into`, with `flbs` where the directory names none itself.
pub(crate) fn pack(
    dir: &Path,
    flbs: &[Flb],
    dialect: Option<&str>,
    into: &Path,
) -> Result<PathBuf, Failure> {
    let image = into.join("packed.raw");
    let named = manifest(dir).is_some_and(|manifest| files(&manifest, "flbs") > 0);
    if named || flbs.is_empty() {
        packed(dir, dialect, &image)?;
        return Ok(image);
    }
    // What has no manifest, or one without them, gets one: by way of an image.
    let without = into.join("without.raw");
    packed(dir, dialect, &without)?;
    let whole = into.join("whole");
    restore(&without, &whole)?;
    add(&whole, flbs)?;
    packed(&whole, dialect, &image)?;
    Ok(image)
}

/// Restores the handover in `image` to the directory `into`.
pub(crate) fn restore(image: &Path, into: &Path) -> Result<(), Failure> {
    let beside = beside(image).ok();
    let base = beside
        .as_ref()
        .and_then(|beside| beside.get("base")?.as_u64());
    let base = base.unwrap_or_default().to_string();
    let words: [&OsStr; 6] = [
        "restore".as_ref(),
        image.as_os_str(),
        "--base".as_ref(),
        base.as_ref(),
        "--out".as_ref(),
        into.as_os_str(),
    ];
    kho(words.into_iter(), into)
}

/// Adds `flbs`, of all files, to the manifest of `dir`.
fn add(dir: &Path, flbs: &[Flb]) -> Result<(), Failure> {
    let Some(mut manifest) = manifest(dir) else {
        let text = format!("{}: no manifest", dir.display());
        return Err(Failure::Failed(text));
    };
    let sessions = manifest.get("sessions").and_then(Value::as_array);
    let count: usize = sessions
        .into_iter()
        .flatten()
        .map(|s| files(s, "files"))
        .sum();
    if count > 0
        && let Some(object) = manifest.as_object_mut()
    {
        object.insert("flbs".to_owned(), flbs_json(flbs, count));
    }
    let path = dir.join(MANIFEST);
    fs::write(&path, manifest.to_string()).map_err(of_file(&path))
}

/// `flbs` of `count` files, as a manifest lists them.
pub(crate) fn flbs_json(flbs: &[Flb], count: usize) -> Value {
    let flbs = flbs.iter();
    flbs.map(|flb| json!({ "name": flb.name, "data": flb.data, "count": count }))
        .collect()
}

fn files(value: &Value, list: &str) -> usize {
    value
        .get(list)
        .and_then(Value::as_array)
        .map_or(0, Vec::len)
}

/// The manifest of `dir`.
pub(crate) fn manifest(dir: &Path) -> Option<Value> {
    let text = fs::read(dir.join(MANIFEST)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What `kho pack` wrote beside `image`.
fn beside(image: &Path) -> Result<Value, Failure> {
    let mut path = image.as_os_str().to_owned();
    path.push(".json");
    let path = PathBuf::from(path);
    let text = fs::read(&path).map_err(of_file(&path))?;
    serde_json::from_slice(&text).map_err(|error| Failure::of(path.display(), error))
}

fn packed(dir: &Path, dialect: Option<&str>, image: &Path) -> Result<(), Failure> {
    let words: [&OsStr; 6] = [
        "pack".as_ref(),
        dir.as_os_str(),
        "--format".as_ref(),
        "raw".as_ref(),
        "--out".as_ref(),
        image.as_os_str(),
    ];
    let dialect = dialect
        .into_iter()
        .flat_map(|dialect| ["--dialect", dialect]);
    kho(words.into_iter().chain(dialect.map(OsStr::new)), image)
}

fn kho<'w>(words: impl Iterator<Item = &'w OsStr>, into: &Path) -> Result<(), Failure> {
    let words: Vec<_> = words.collect();
    let verb = words.first().map(|word| word.display().to_string());
    let mut command = Command::new(place::kho()?);
    command.args(&words);
    let what = format!("kho {}", verb.unwrap_or_default());
    run(command, &what, &into.with_extension("log"))
}
