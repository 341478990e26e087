//! Looks at the conditions of a move between kernels.

use kho_compat::{Carrier, Outcome};

use crate::boot::Boot;
use crate::command_line::{CommandLine, ReserveMem, short};
use crate::condition::{Condition, ConditionKind, Cost, State};
use crate::end::{End, EndKind, Kernel, What};
use crate::facts::{Region, Shown};
use crate::item::Uses;
use crate::release::numbers;
use crate::report::MoveFinding;
use kho_compat::size;

/// What makes a kernel hand sessions over.
pub(crate) const HERE: &str = "boot the kernel that is left with kho=on liveupdate=on";

/// A move whose conditions are looked at.
pub(crate) struct Move<'e> {
    pub(crate) from: &'e End,
    pub(crate) to: &'e End,
    pub(crate) rows: &'e [MoveFinding],
    pub(crate) uses: Option<&'e Uses>,
}

impl Move<'_> {
    /// The conditions of it, where both ends are kernels and something is handed over.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        let next = match &self.to.what {
            What::Kernel(next) => Some(next),
            What::Dump(_) => None,
            What::Listed(_) => return Vec::new(),
        };
        if !self.is_between_kernels() {
            return Vec::new();
        }
        let mut all = Vec::new();
        let mut add = |kind, cost, (state, evidence, advice): (State, String, String)| {
            all.push(Condition {
                kind,
                state,
                evidence,
                cost,
                advice: match state {
                    State::Met => String::new(),
                    State::NotMet | State::NotSeen => advice,
                },
            });
        };
        let facts = &self.from.facts;
        let sessions = match self.hands_over_sessions() {
            true => Cost::Sessions,
            false => Cost::Nothing,
        };
        add(ConditionKind::FileLoad, Cost::Everything, self.file_load());
        if let Some(found) = self.finalized() {
            add(ConditionKind::Finalized, Cost::Everything, found);
        }
        add(ConditionKind::ScratchSize, Cost::Move, self.scratch_size());
        match (&facts.here, self.from.kind) {
            (Some(here), _) => {
                const UNSEEN: &str =
                    "kho=on is not on its command line, and its configuration is not seen";
                let found = match &here.kho {
                    Some(evidence) => (State::Met, evidence.clone(), String::new()),
                    None => (State::NotSeen, UNSEEN.to_owned(), HERE.to_owned()),
                };
                add(ConditionKind::KhoHere, Cost::Nothing, found);
                if let (true, Some(evidence)) = (sessions == Cost::Sessions, &here.luo) {
                    let found = (State::Met, evidence.clone(), String::new());
                    add(ConditionKind::LiveUpdateHere, Cost::Nothing, found);
                }
            }
            (None, EndKind::Kernel) => {
                let evidence = "the kernel that is left is an image, not a running one".to_owned();
                let found = (State::NotSeen, evidence, HERE.to_owned());
                add(ConditionKind::KhoHere, Cost::Nothing, found);
            }
            _ => {}
        }
        add(ConditionKind::KhoThere, sessions, self.kho_there());
        let has_luo = next.is_none_or(|next| next.luo.is_some() || next.names("luo"));
        if sessions == Cost::Sessions && has_luo {
            add(
                ConditionKind::LiveUpdateThere,
                sessions,
                self.live_update_there(),
            );
        }
        for region in facts.regions.iter().flat_map(|shown| &shown.all) {
            add(ConditionKind::ReserveMem, Cost::Part, self.repeated(region));
        }
        for module in next.into_iter().flat_map(|next| self.modules(next)) {
            let (state, evidence) = self.in_initrd(module);
            let advice = "put it into the initrd, or load it before anything opens the device";
            add(
                ConditionKind::Modules,
                sessions,
                (state, evidence, advice.to_owned()),
            );
        }
        if let Some(evidence) = self.crash() {
            let advice = "a handover is made by an ordinary kexec alone".to_owned();
            add(
                ConditionKind::NoCrash,
                Cost::Nothing,
                (State::NotSeen, evidence, advice),
            );
        }
        all
    }

    /// Whether a kernel hands something over to one that may take it. A manifest file may describe a kernel's release.
    pub(crate) fn is_between_kernels(&self) -> bool {
        let without = |kernel: &Kernel| kernel.kho.is_err();
        let to_none = matches!(&self.to.what, What::Kernel(kernel) if without(kernel));
        self.from.kind != EndKind::Program && !to_none && !self.rows.is_empty()
    }

    fn hands_over_sessions(&self) -> bool {
        let of_luo = |row: &MoveFinding| row.item.entry.carrier == Carrier::Luo;
        match self.uses {
            Some(uses) => uses.sessions > 0 || uses.flbs > 0,
            None => self.rows.iter().any(of_luo),
        }
    }

    fn file_load(&self) -> (State, String, String) {
        let advice = "load it with `kexec -s -l IMAGE`: without -s it may be kexec_load, which hands nothing over";
        let here = self.from.facts.here.as_ref();
        let evidence = match here.map(|here| (here.loaded, &here.locked)) {
            Some((Some(false), Some(locked))) => {
                let advice = "reboot: it can not be changed back".to_owned();
                let evidence = format!("no kernel is loaded, and {locked}");
                return (State::NotMet, evidence, advice);
            }
            Some((Some(true), _)) => "a kernel is loaded, and not by which call",
            Some((Some(false), _)) => "no kernel is loaded yet",
            _ => "how it will be loaded does not show",
        };
        (State::NotSeen, evidence.to_owned(), advice.to_owned())
    }

    /// Up to Linux 6.18 what is handed over is put together by a step of its own.
    fn finalized(&self) -> Option<(State, String, String)> {
        let release = self.from.release.as_deref()?;
        if self.from.kind == EndKind::Dump || numbers(release)? >= [6, 19, 0] {
            return None;
        }
        let advice = "echo 1 >/sys/kernel/debug/kho/out/finalize, then load the next kernel";
        let here = self.from.facts.here.as_ref();
        let (state, evidence) = match here.map(|here| (here.finalized, here.loaded)) {
            Some((Some(false), Some(true))) => (
                State::NotMet,
                "a kernel is loaded, and nothing is finalized",
            ),
            Some((Some(true), Some(false))) => {
                (State::Met, "it is finalized, and no kernel is loaded yet")
            }
            Some((Some(true), Some(true))) => (
                State::NotSeen,
                "both are done, and which came first does not show",
            ),
            Some((Some(false), _)) => (State::NotSeen, "nothing is finalized yet"),
            _ => (State::NotSeen, "an image does not show it"),
        };
        Some((
            state,
            format!("Linux {release}: {evidence}"),
            advice.to_owned(),
        ))
    }

    fn scratch_size(&self) -> (State, String, String) {
        let Boot { initrds, image, .. } = &self.to.boot;
        let initrd =
            (!initrds.is_empty()).then(|| initrds.iter().map(|initrd| initrd.bytes).sum::<u64>());
        let mut wanted: Vec<u64> = image.iter().copied().chain(initrd).collect();
        let words = |what: &str, bytes: &Option<u64>| match bytes {
            Some(bytes) => format!("{what} of {}", size(*bytes)),
            None => format!("{what} of unknown size"),
        };
        let mut parts = format!(
            "{}, {}",
            words("a kernel", image),
            words("an initrd", &initrd)
        );
        // Nothing else can be allocated while a kernel that a handover booted sets itself up.
        let line = self.to.boot.parameters().map(|(line, _)| line);
        if let Some(crash) = line.as_ref().and_then(|line| line.last("crashkernel")) {
            let taken = "which comes out of them too (not measured)";
            parts.push_str(&format!(", and crashkernel={crash}, {taken}"));
        }
        let advice = "boot with a larger kho_scratch= here: each part must fit one area".to_owned();
        let Some(Shown { all, by }) = &self.from.facts.scratch else {
            let evidence = format!("the areas are not seen; {parts}");
            return (State::NotSeen, evidence, advice);
        };
        let mut free: Vec<u64> = all.iter().map(|area| area.len).collect();
        let largest = free.iter().copied().max().unwrap_or(0);
        let evidence = format!("{parts}; the largest area has {}, says {by}", size(largest));
        wanted.sort_unstable_by(|one, other| other.cmp(one));
        let fits = wanted.iter().all(|bytes| {
            let place = free.iter_mut().find(|area| **area >= *bytes);
            place.map(|area| *area -= bytes).is_some()
        });
        let state = match fits {
            false => State::NotMet,
            true if image.is_some() && initrd.is_some() => State::Met,
            true => State::NotSeen,
        };
        (state, evidence, advice)
    }

    fn kho_there(&self) -> (State, String, String) {
        let boot = &self.to.boot;
        let release = self.to.release.as_deref().and_then(numbers);
        // Before 6.19 there is no such option.
        let off = release.is_some_and(|release| release < [6, 19, 0]);
        let default = match &boot.config {
            Some(config) => Some(config.is_on_by_default()),
            None => off.then_some(false),
        };
        let of_default = match &boot.config {
            Some(config) => config.says("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT"),
            None if off => "KHO is off by default before Linux 6.19".to_owned(),
            None => "its configuration is not seen".to_owned(),
        };
        let found = match boot.parameters() {
            Some((line, of)) => {
                // A crash kernel of 7.1 and later switches KHO off by itself.
                if line.last("elfcorehdr").is_some() {
                    let evidence = format!("elfcorehdr= in {of}: a crash kernel has KHO off");
                    return (State::NotMet, evidence, boot_with("kho=on"));
                }
                let switched = switched(&line, "kho", default, of, &of_default);
                match line.variable() {
                    Some(variable) if switched.0 == State::NotMet && line.last("kho").is_none() => {
                        (
                            State::NotSeen,
                            format!("{variable} in {of} is not known here"),
                        )
                    }
                    _ => switched,
                }
            }
            None if default == Some(true) => (State::Met, of_default),
            None => (
                State::NotSeen,
                format!("its command line is not seen, and {of_default}"),
            ),
        };
        (found.0, found.1, boot_with("kho=on"))
    }

    fn live_update_there(&self) -> (State, String, String) {
        let found = match self.to.boot.parameters() {
            Some((line, of)) => {
                let switched =
                    switched(&line, "liveupdate", Some(false), of, "it is off by default");
                match line.variable() {
                    Some(variable) if line.last("liveupdate").is_none() => (
                        State::NotSeen,
                        format!("{variable} in {of} is not known here"),
                    ),
                    _ => switched,
                }
            }
            None => (State::NotSeen, "its command line is not seen".to_owned()),
        };
        (found.0, found.1, boot_with("liveupdate=on"))
    }

    /// Whether the next command line asks for `region` again.
    fn repeated(&self, region: &Region) -> (State, String, String) {
        let align = region
            .start
            .map_or(4096, |start| 1 << start.trailing_zeros().min(12));
        let wanted = ReserveMem {
            size: region.size,
            align,
            name: region.name.clone(),
        };
        let advice = format!("boot the next kernel with {wanted}");
        let what = format!("{} of {}", region.name, short(region.size));
        let Some((line, of)) = self.to.boot.parameters() else {
            return (
                State::NotSeen,
                format!("{what}; its command line is not seen"),
                advice,
            );
        };
        let all = line.regions();
        let found = all.iter().find(|asked| asked.name == region.name);
        let wrong = |asked: &ReserveMem| {
            let aligned = |start: u64| start.is_multiple_of(asked.align.max(1));
            match (asked.size == region.size, region.start) {
                (false, _) => Some("of another size"),
                (_, Some(start)) if !aligned(start) => Some("of another alignment"),
                _ => None,
            }
        };
        match found.map(|asked| (asked, wrong(asked))) {
            Some((asked, None)) => (State::Met, format!("{asked} in {of}"), advice),
            Some((asked, Some(wrong))) => (
                State::NotMet,
                format!("{what}; {asked} in {of} is {wrong}"),
                advice,
            ),
            None if line.variable().is_some() => (
                State::NotSeen,
                format!("{what}; not all of {of} is known"),
                advice,
            ),
            None => (
                State::NotMet,
                format!("{what}; {of} does not have it"),
                advice,
            ),
        }
    }

    /// The next kernel's modules that restore files which are handed over.
    fn modules<'k>(&self, next: &'k Kernel) -> impl Iterator<Item = &'k String> {
        let restored = |row: &&MoveFinding| {
            let carrier = row.item.entry.carrier;
            matches!(carrier, Carrier::FileHandler | Carrier::Flb)
                && row.outcome == Outcome::Restorable
        };
        let spots: Vec<_> = self
            .rows
            .iter()
            .filter(restored)
            .flat_map(|row| &row.to)
            .cloned()
            .collect();
        next.modules.iter().filter(move |module| {
            let stands = |what: &str| {
                what.strip_prefix(module.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
            };
            spots.iter().any(|spot| stands(&spot.what))
        })
    }

    /// Whether an initrd has the module `path`.
    fn in_initrd(&self, path: &str) -> (State, String) {
        let initrds = &self.to.boot.initrds;
        let unread = initrds
            .iter()
            .find_map(|initrd| Some((initrd, initrd.modules.as_ref().err()?)));
        let with = initrds.iter().find(|initrd| initrd.has(path) == Some(true));
        match (with, unread, initrds.first()) {
            (Some(initrd), ..) => (State::Met, format!("{path} is in {}", initrd.of)),
            (None, Some((initrd, why)), _) => (
                State::NotSeen,
                format!("{path}; {} is not read: {why}", initrd.of),
            ),
            (None, None, Some(initrd)) => {
                (State::NotMet, format!("{path} is not in {}", initrd.of))
            }
            (None, None, None) => (State::NotSeen, format!("{path}; no initrd is named")),
        }
    }

    /// What shows that a crash would boot another kernel.
    fn crash(&self) -> Option<String> {
        let here = self.from.facts.here.as_ref()?;
        match (here.crash_loaded, &here.crash_memory) {
            (Some(true), _) => {
                Some("a crash kernel is loaded: sys/kernel/kexec_crash_loaded is 1".to_owned())
            }
            (_, Some(memory)) => Some(format!("crashkernel={memory} on its command line")),
            _ => None,
        }
    }
}

/// Whether the switch `name` is on in `line`, which stands in `of`.
fn switched(
    line: &CommandLine,
    name: &str,
    default: Option<bool>,
    of: &str,
    of_default: &str,
) -> (State, String) {
    let switch = line.switch(name, default.unwrap_or(false));
    let invalid = match switch.invalid.last() {
        Some(word) => format!("; the kernel can not parse `{word}`"),
        None => String::new(),
    };
    match (switch.words.last(), default) {
        (Some(word), _) => {
            let state = if switch.on { State::Met } else { State::NotMet };
            (state, format!("{word} in {of}{invalid}"))
        }
        (None, Some(true)) => (State::Met, format!("{of_default}{invalid}")),
        (None, Some(false)) => (
            State::NotMet,
            format!("no {name}=on in {of}, and {of_default}{invalid}"),
        ),
        (None, None) => (
            State::NotSeen,
            format!("no {name}=on in {of}, and {of_default}{invalid}"),
        ),
    }
}

fn boot_with(word: &str) -> String {
    format!("boot the next kernel with {word}")
}
