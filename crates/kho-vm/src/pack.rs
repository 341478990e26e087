//! A directory of files as a handover, by `kho pack`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::command::run;
use crate::failure::{Failure, of_file};
use crate::place;

/// An object bound to the life of files, as a kernel expects it: its name and its data.
pub(crate) type Flb = (String, u64);

/// What a kernel with CONFIG_LIVEUPDATE_TEST binds to every memfd, and looks for in a handover that has
/// one: the data is a number that it knows, and one more for each.
pub(crate) fn test_flbs() -> Vec<Flb> {
    let flb = |n: u64| {
        (
            format!("liveupdate-test-flb-v{n}"),
            0xfeed_f00d_cafe_bee0 + n,
        )
    };
    (0..3).map(flb).collect()
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
    // What `kho pack` wrote beside it.
    let mut beside = image.as_os_str().to_owned();
    beside.push(".json");
    let beside = fs::read(beside)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let base = beside.and_then(|beside: Value| beside.get("base")?.as_u64());
    let base = base.unwrap_or_default().to_string();
    kho("restore", into, |kho| {
        kho.arg(image).args(["--base", &base, "--out"]).arg(into);
    })
}

/// Adds `flbs`, of all files, to the manifest of `dir`.
fn add(dir: &Path, flbs: &[Flb]) -> Result<(), Failure> {
    let Some(mut manifest) = manifest(dir) else {
        let text = format!("{}: no manifest", dir.display());
        return Err(Failure::Failed(text));
    };
    let sessions = manifest.get("sessions").and_then(Value::as_array);
    let sessions = sessions.into_iter().flatten();
    let count: usize = sessions.map(|session| files(session, "files")).sum();
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
    let flb = |(name, data): &Flb| json!({ "name": name, "data": data, "count": count });
    flbs.iter().map(flb).collect()
}

fn files(value: &Value, list: &str) -> usize {
    let list = value.get(list).and_then(Value::as_array);
    list.map_or(0, Vec::len)
}

/// The manifest of `dir`.
pub(crate) fn manifest(dir: &Path) -> Option<Value> {
    let text = fs::read(dir.join(MANIFEST)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn packed(dir: &Path, dialect: Option<&str>, image: &Path) -> Result<(), Failure> {
    kho("pack", image, |kho| {
        kho.arg(dir).args(["--format", "raw", "--out"]).arg(image);
        dialect.map(|dialect| kho.args(["--dialect", dialect]));
    })
}

fn kho(verb: &str, into: &Path, words: impl FnOnce(&mut Command)) -> Result<(), Failure> {
    let mut command = Command::new(place::kho()?);
    words(command.arg(verb));
    run(command, &format!("kho {verb}"), &into.with_extension("log"))
}
