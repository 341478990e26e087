//! Handovers that are made up: as many sessions and files as one likes, of every shape.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use kho_guest::{FileSpec, seed_of};
use kho_mem::PAGE_SIZE_U64;
use serde_json::{Value, json};

use crate::failure::{Failure, of_file};
use crate::pack::{self, Flb, flbs_json};
use crate::wait::Spinner;

/// How much is made: `sessions=200,files=5000,seed=1,order=9`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Made {
    /// Sessions; one more stands without files.
    pub(crate) sessions: u64,
    /// Files in all of them.
    pub(crate) files: u64,
    /// What contents and shapes follow from.
    pub(crate) seed: u64,
    /// The largest folio is that many doublings of a page.
    pub(crate) order: u64,
}

impl FromStr for Made {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut made = Self {
            sessions: 3,
            files: 12,
            seed: 1,
            order: 9,
        };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let number = |most: u64| {
                let number = value.parse().ok().filter(|number: &u64| *number <= most);
                number.ok_or_else(|| format!("`{part}`: expected a number up to {most}"))
            };
            match key {
                "sessions" => made.sessions = number(100_000)?.max(1),
                "files" => made.files = number(1_000_000)?,
                "seed" => made.seed = number(u64::MAX)?,
                "order" => made.order = number(9)?,
                _ => return Err(format!("`{key}`: expected sessions, files, seed or order")),
            }
        }
        Ok(made)
    }
}

/// A file: what is in it, and the folios that it is kept in, each with how many follow each other; `None`
/// for holes.
struct Shaped {
    spec: FileSpec,
    orders: Vec<(Option<u64>, u64)>,
}

/// Seals that are tried in turn.
const SEALS: [u32; 8] = [0, 0, 0x6, 0, 0x1, 0xf, 0, 0x3f];

/// Numbers that follow from a seed.
struct Numbers {
    seed: u64,
    count: u64,
}

impl Numbers {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.count += 1;
        seed_of(self.seed, self.count) % end.max(1)
    }
}

impl Made {
    /// Writes them into the directory `dir`, as `kho restore` does.
    pub(crate) fn write(&self, dir: &Path, flbs: &[Flb]) -> Result<(), Failure> {
        fs::create_dir_all(dir).map_err(of_file(dir))?;
        let mut sessions = Vec::new();
        let mut from = 0;
        let mut spinner = Spinner::new("making files");
        for index in 0..self.sessions {
            spinner.tick()?;
            // As evenly as it goes.
            let to = self.files * (index + 1) / self.sessions;
            sessions.push(self.session(dir, index, from..to)?);
            from = to;
        }
        sessions.push(json!({ "name": "no-files", "files": [] }));
        let count = usize::try_from(self.files).unwrap_or(usize::MAX);
        let flbs = flbs_json(if count == 0 { &[] } else { flbs }, count);
        let manifest = json!({
            "format": "kho-restore-v1",
            "compatible": "kho-v4",
            "luo": "luo-v5",
            "kexec_metadata": { "version": 1, "previous_release": "lab", "kexec_count": 1 },
            "liveupdate_num": 1,
            "flbs": flbs,
            "sessions": sessions,
        });
        let path = dir.join("manifest.json");
        fs::write(&path, manifest.to_string()).map_err(of_file(&path))
    }

    /// Packs them into an image in `dir`.
    pub(crate) fn pack(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let from = dir.join("made");
        self.write(&from, &pack::test_flbs())?;
        pack::pack(&from, &[], None, dir)
    }

    fn session(&self, dir: &Path, index: u64, files: Range<u64>) -> Result<Value, Failure> {
        let name = format!("made-{index}");
        let at = dir.join(index.to_string());
        fs::create_dir(&at).map_err(of_file(&at))?;
        let mut values = Vec::new();
        for file in files {
            let shaped = self.shaped(file);
            let path = format!("{index}/{:016x}.bin", shaped.spec.token);
            write(&shaped.spec, &dir.join(&path))?;
            values.push(shaped.json(&path));
        }
        Ok(json!({ "name": name, "files": values }))
    }

    /// The file `index`.
    fn shaped(&self, index: u64) -> Shaped {
        let seed = seed_of(self.seed, index);
        let mut numbers = Numbers { seed, count: 0 };
        // Few large ones: each order half as often as the one below.
        let mut order = |most: u64| {
            let number = numbers.below(1 << 20);
            u64::from(number.trailing_ones()).min(most)
        };
        let (mut orders, mut pages, mut data) = (Vec::new(), 0, Vec::new());
        let mut folios = if index % 17 == 5 { 0 } else { 1 + order(7) };
        // Chance brings no large ones: each order in its turn, now and then.
        let mut large = (index % 23 == 1).then(|| index / 23 % (self.order + 1));
        while folios > 0 {
            let order = large.take().unwrap_or_else(|| order(self.order));
            let len = 1 << order;
            let folio = if pages % len == 0 {
                (order, 1)
            } else {
                (0, len)
            };
            if order == 1 && !index.is_multiple_of(3) {
                // A hole, a page each.
                orders.push((None, len));
            } else {
                orders.push((Some(folio.0), folio.1));
                data.push((pages, pages + len));
            }
            pages += len;
            folios -= 1;
        }
        // The last folio may reach past the end.
        let last = match orders.last() {
            Some((Some(order), 1)) => 1 << order,
            Some(_) => 1,
            None => 0,
        };
        let cut = numbers.below(last * PAGE_SIZE_U64);
        let size = (pages * PAGE_SIZE_U64).saturating_sub(cut);
        let pos = match index % 5 {
            0 => 0,
            1 => size,
            2 => size + numbers.below(1 << 40),
            _ => numbers.below(size + 1),
        };
        let token = match index % 11 {
            7 => u64::MAX - index,
            3 => numbers.below(1 << 60) << 4 | 1,
            _ => index,
        };
        let which = usize::try_from(index).unwrap_or_default() % SEALS.len();
        let spec = FileSpec {
            pos,
            seals: SEALS.get(which).copied().unwrap_or_default(),
            data,
            ..FileSpec::new(token, size, seed)
        };
        Shaped { spec, orders }
    }
}

impl Shaped {
    fn json(&self, path: &str) -> Value {
        let spec = &self.spec;
        json!({
            "token": spec.token,
            "path": path,
            "compatible": "memfd-v2",
            "size": spec.size,
            "pos": spec.pos,
            "seals": spec.seals,
            "folio_orders": self.orders,
            "sha256": spec.sha256(),
        })
    }
}

/// Writes the file, with its holes.
fn write(spec: &FileSpec, path: &Path) -> Result<(), Failure> {
    let failed = of_file(path);
    let mut file = fs::File::create_new(path).map_err(&failed)?;
    for (from, to) in &spec.data {
        let at = SeekFrom::Start(from * PAGE_SIZE_U64);
        file.seek(at).map_err(&failed)?;
        file.write_all(&spec.pages(*from, *to)).map_err(&failed)?;
    }
    file.set_len(spec.size).map_err(&failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let made: Made = "sessions=200,files=5000".parse().unwrap();
        assert_eq!((made.sessions, made.files, made.order), (200, 5000, 9));
        let refused = |text: &&str| text.parse::<Made>().is_err();
        assert!(["sessions", "order=11", "colour=1"].iter().all(refused));
    }

    #[test]
    fn files_are_covered_by_folios_where_they_may_stand() {
        let made: Made = "seed=3".parse().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let (mut holes, mut empty) = (0, 0);
        for index in 0..2000 {
            let Shaped { spec, orders } = made.shaped(index);
            let pages = spec.size.div_ceil(PAGE_SIZE_U64);
            let mut next = 0;
            for (order, count) in orders {
                let each = order.map_or(1, |order| 1 << order);
                assert_eq!(next % each, 0, "{index}");
                assert!(next + each * (count - 1) < pages, "{index}");
                next += each * count;
                seen.extend(order);
                holes += u64::from(order.is_none());
            }
            assert!(next >= pages, "{index}");
            empty += u64::from(spec.size == 0);
        }
        assert_eq!(seen, (0..=9).collect());
        assert!(holes > 10 && empty > 10);
    }
}
