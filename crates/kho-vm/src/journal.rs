//! What the kernel says: is it all as it should be?

use kho_guest::Fact;

/// Words by which the console's log is known to say that something is wrong, whatever its weight.
const ALARMS: [&str; 11] = [
    "WARNING:",
    "BUG:",
    "Oops",
    "Call Trace:",
    "Kernel panic",
    "general protection fault",
    "Unable to handle",
    "unable to handle",
    "blocked for more than",
    "soft lockup",
    "Segmentation fault",
];

/// Words of alarms that registers and calls follow.
const STARTS: [&str; 4] = ["WARNING:", "BUG:", "Oops", "Kernel panic"];

/// The kernel's weight of a warning; lighter is heavier.
pub(crate) const WARNING: u8 = 4;

/// A message of weight, and why it may stand there.
struct Explained {
    text: &'static str,
    why: &'static str,
}

/// What a kernel says on these machines with nothing wrong.
const EXPLAINED: &[Explained] = &[
    Explained {
        text: "tsc: ",
        why: TIME,
    },
    Explained {
        text: "clocksource: ",
        why: TIME,
    },
    Explained {
        text: "APIC calibration",
        why: TIME,
    },
    Explained {
        text: "hrtimer: interrupt took",
        why: TIME,
    },
    Explained {
        text: "8254 timer not connected to IO-APIC",
        why: TIME,
    },
    Explained {
        text: "Spurious LAPIC timer interrupt",
        why: "a timer that the kernel before had set runs out in the one that it started",
    },
];
const TIME: &str = "a guest's time does not run evenly where the machine has other things to do";

/// Something that the kernel said and should not have.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct Complaint {
    /// What it said.
    pub(crate) text: String,
}

/// What the kernel complained about: its messages of weight, and the alarms in the console's log. Each is
/// given once.
pub(crate) fn complaints(facts: &[Fact], log: &str) -> Vec<Complaint> {
    let heavy = facts.iter().filter_map(|fact| match fact {
        Fact::Kernel { level, text } if *level <= WARNING => Some(text.as_str()),
        _ => None,
    });
    let alarms = Heads::of(lines(log)).filter(|line| is_alarm(line));
    let mut all: Vec<Complaint> = Vec::new();
    for text in Heads::of(heavy).chain(alarms) {
        let text = text.trim_end();
        if explained(text).is_none() && !all.iter().any(|known| known.text == text) {
            let text = text.to_owned();
            all.push(Complaint { text });
        }
    }
    all
}

fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm))
}

/// Messages without what follows an alarm: registers and calls, up to the end of the trace.
struct Heads<I> {
    messages: I,
    in_trace: bool,
}

impl<I> Heads<I> {
    const fn of(messages: I) -> Self {
        Self {
            messages,
            in_trace: false,
        }
    }
}

impl<'l, I: Iterator<Item = &'l str>> Iterator for Heads<I> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        loop {
            let message = self.messages.next()?;
            if self.in_trace {
                self.in_trace = !message.contains("---[ end trace");
            } else if !message.contains("[ cut here ]") {
                self.in_trace = STARTS.iter().any(|start| message.contains(start));
                return Some(message);
            }
        }
    }
}

/// Why the message may stand there; `None` where nothing is known.
fn explained(text: &str) -> Option<&'static str> {
    let known = EXPLAINED.iter().find(|known| text.contains(known.text))?;
    Some(known.why)
}

/// The lines of a console's log.
pub(crate) fn lines(log: &str) -> impl Iterator<Item = &str> {
    log.lines().map(|line| line.trim_end_matches('\r'))
}

/// The last lines of a log.
pub(crate) fn tail(log: &str) -> String {
    const SHOWN: usize = 25;
    let lines: Vec<_> = lines(log).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(SHOWN);
    let shown = lines.get(from..).unwrap_or_default().join("\n  ");
    format!("the kernel's last words:\n  {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints_of(facts: &[Fact], log: &str) -> Vec<String> {
        let all = complaints(facts, log);
        all.into_iter().map(|complaint| complaint.text).collect()
    }

    fn kernel(level: u8, text: &str) -> Fact {
        let text = text.to_owned();
        Fact::Kernel { level, text }
    }

    const LOG: &str = "Linux version 7.3.4\r
Warning: not an alarm by itself\r
------------[ cut here ]------------\r
refcount_t: underflow; use-after-free.\r
WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70\r
RIP: 0010:refcount_warn_saturate+0x1b/0x70\r
Call Trace:\r
 <TASK>\r
---[ end trace 0000000000000000 ]---\r
Run /init as init process\r
Kernel panic - not syncing: luo\r
";

    #[test]
    fn a_trace_is_one_complaint() {
        let expected = [
            "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70",
            "Kernel panic - not syncing: luo",
        ];
        assert_eq!(complaints_of(&[], LOG), expected);
    }

    #[test]
    fn messages_of_weight_are_complaints_once() {
        let facts = [
            kernel(4, "refcount_t: underflow; use-after-free."),
            kernel(
                4,
                "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70",
            ),
            kernel(4, "RAX: 0"),
            kernel(4, "---[ end trace 0 ]---"),
            kernel(3, "luo: failed"),
            kernel(5, "a notice"),
            kernel(4, "tsc: Unable to calibrate against PIT"),
        ];
        let expected = [
            "refcount_t: underflow; use-after-free.",
            "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70",
            "luo: failed",
            "Kernel panic - not syncing: luo",
        ];
        assert_eq!(complaints_of(&facts, LOG), expected);
        assert_eq!(complaints_of(&facts[5..], "quiet"), [""; 0]);
    }

    #[test]
    fn what_is_explained_says_why() {
        for known in EXPLAINED {
            assert!(!known.why.is_empty() && explained(known.text) == Some(known.why));
        }
    }

    #[test]
    fn the_last_words() {
        assert!(
            tail(LOG).ends_with("Run /init as init process\n  Kernel panic - not syncing: luo")
        );
    }
}
