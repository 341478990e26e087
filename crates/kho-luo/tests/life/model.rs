//! The life cycle against a plain model: what the model is.

use super::*;

mod world;

/// Kind and size of the files there are.
const FILES: [(&str, usize); 8] = [
    (FAKE, 0),
    (FAKE, 100),
    (FAKE, 9000),
    (DECOY, 0),
    (DECOY, 8192),
    (DECOY, 1),
    ("none", 0),
    (FAKE, 0),
];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn pages_of(file: usize) -> u64 {
    match FILES[file].1 {
        0 => 0,
        size => 1 + size.div_ceil(PAGE_SIZE).next_power_of_two() as u64,
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Close(usize),
    Preserve(usize, u64, usize),
    Freeze,
    Unfreeze,
    Fail(&'static str, u64),
    /// Over there and back, by a number that says what is retrieved and in which order; and
    /// whether the sessions are finished one by one.
    Update(u64, bool),
}

fn ops() -> impl Strategy<Value = Vec<(Op, Option<u64>)>> {
    let name = 0..NAMES.len();
    let op = prop_oneof![
        4 => name.clone().prop_map(Op::Create),
        2 => name.clone().prop_map(Op::Close),
        12 => (name, 0u64..4, 0..FILES.len())
            .prop_map(|(name, token, file)| Op::Preserve(name, token, file)),
        1 => Just(Op::Freeze),
        1 => Just(Op::Unfreeze),
        2 => (prop::sample::select(&CALLS[..]), 0u64..4)
            .prop_map(|(kind, after)| Op::Fail(kind, after)),
        2 => (any::<u64>(), any::<bool>()).prop_map(|(seed, each)| Op::Update(seed, each)),
    ];
    let fault = prop_oneof![4 => Just(None), 1 => (0u64..9).prop_map(Some)];
    prop::collection::vec((op, fault), 1..48)
}

type Done = Result<(), &'static str>;

/// What the life cycle is, in plain collections. Each step notes the calls that it makes.
#[derive(Clone, Default)]
struct Model {
    // Sessions in order of creation: name, tokens and files.
    sessions: Vec<(usize, Vec<(u64, usize)>)>,
    closing: Vec<usize>,
    frozen: bool,
    // Files that depend on each FLB.
    flbs: [u64; 2],
    faults: Faults,
    calls: Vec<String>,
}

impl Model {
    fn call(&mut self, kind: &'static str, who: impl Display) -> bool {
        self.calls.push(format!("{kind} {who}"));
        !due(&mut self.faults, kind)
    }

    fn files(&self) -> Vec<usize> {
        let files = self.sessions.iter().flat_map(|(_, files)| files);
        files.map(|(_, file)| *file).collect()
    }

    fn session(&mut self, name: usize) -> Option<&mut Vec<(u64, usize)>> {
        let session = self.sessions.iter_mut().find(|(other, _)| *other == name);
        session.map(|(_, files)| files)
    }

    fn create(&mut self, name: usize) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        if self.session(name).is_some() {
            return Err("session exists");
        }
        self.sessions.push((name, Vec::new()));
        Ok(())
    }

    fn take_flb(&mut self, flb: usize) -> bool {
        if self.flbs[flb] == 0 && !self.call("FLB preserve", FLBS[flb].0) {
            return false;
        }
        self.flbs[flb] += 1;
        true
    }

    fn release_flb(&mut self, flb: usize) {
        self.flbs[flb] -= 1;
        if self.flbs[flb] == 0 {
            self.call("FLB unpreserve", FLBS[flb].0);
        }
    }

    fn preserve(&mut self, name: usize, token: u64, file: usize) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        let session = self.session(name).expect("it is open");
        if session.iter().any(|(other, _)| *other == token) {
            return Err("token exists");
        }
        let kind = FILES[file].0;
        if kind == "none" {
            return Err("no handler");
        }
        if self.files().contains(&file) {
            return Err("busy");
        }
        let needed: Vec<usize> = (0..2).filter(|flb| FLBS[*flb].1.contains(&kind)).collect();
        let taken = needed.iter().take_while(|flb| self.take_flb(**flb)).count();
        let all = taken == needed.len();
        if all && self.call("preserve", file) {
            self.session(name).expect("it is open").push((token, file));
            return Ok(());
        }
        for flb in needed[..taken].iter().rev() {
            self.release_flb(*flb);
        }
        Err(if all { "handler" } else { "FLB" })
    }

    fn close(&mut self, name: usize) {
        if self.frozen {
            self.closing.push(name);
            return;
        }
        let files = std::mem::take(self.session(name).expect("it is open"));
        self.sessions.retain(|(other, _)| *other != name);
        for (_, file) in files.into_iter().rev() {
            self.call("unpreserve", file);
            for flb in (0..2)
                .rev()
                .filter(|flb| FLBS[*flb].1.contains(&FILES[file].0))
            {
                self.release_flb(flb);
            }
        }
    }

    fn freeze(&mut self) -> Done {
        if self.frozen {
            return Err("frozen");
        }
        let files = self.files();
        let done = files
            .iter()
            .take_while(|file| self.call("freeze", **file))
            .count();
        if done < files.len() {
            self.unfreeze_files(&files[..done]);
            return Err("handler");
        }
        self.frozen = true;
        Ok(())
    }

    fn unfreeze_files(&mut self, files: &[usize]) {
        for file in files.iter().rev() {
            self.call("unfreeze", file);
        }
    }

    fn unfreeze(&mut self) {
        self.unfreeze_files(&self.files());
        self.frozen = false;
        for name in std::mem::take(&mut self.closing) {
            self.close(name);
        }
    }

    fn hand_over(&mut self) {
        for file in self.files() {
            self.call("hand over", file);
        }
        for flb in (0..2).filter(|flb| self.flbs[*flb] > 0).collect::<Vec<_>>() {
            self.call("FLB hand over", FLBS[flb].0);
        }
    }

    /// Pages of files and FLBs.
    fn pages(&self) -> u64 {
        let files: u64 = self.files().into_iter().map(pages_of).sum();
        files + self.flbs.iter().filter(|count| **count > 0).count() as u64
    }

    /// Blocks of the set of sessions and of each set of files: one, where there is an entry.
    fn blocks(&self) -> u64 {
        let full = self.sessions.iter().filter(|(_, files)| !files.is_empty());
        u64::from(!self.sessions.is_empty()) + full.count() as u64
    }
}
