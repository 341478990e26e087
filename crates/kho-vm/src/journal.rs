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

/// What a kernel says on these machines with nothing wrong, and why.
const EXPLAINED: &[(&str, &str)] = &[
    ("tsc: ", TIME),
    ("clocksource: ", TIME),
    ("TSC found unstable", TIME),
    ("APIC calibration", TIME),
    ("hrtimer: interrupt took", TIME),
    ("8254 timer not connected to IO-APIC", TIME),
    (
        "Spurious LAPIC timer interrupt",
        "a timer that the kernel before had set runs out in the one that it started",
    ),
];
const TIME: &str = "a guest's time does not run evenly where the machine has other things to do";

/// What the kernel complained about: its messages of weight, and the alarms in the console's log. Each is
/// given once.
pub(crate) fn complaints(facts: &[Fact], log: &str) -> Vec<String> {
    let heavy = facts.iter().filter_map(|fact| match fact {
        Fact::Kernel { level, text } if *level <= WARNING => Some(text.as_str()),
        _ => None,
    });
    let alarms = heads(lines(log)).filter(|line| is_alarm(line));
    let mut all: Vec<String> = Vec::new();
    for text in heads(heavy).chain(alarms) {
        let text = text.trim_end();
        if explained(text).is_none() && !all.iter().any(|known| known == text) {
            all.push(text.to_owned());
        }
    }
    all
}

fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm))
}

/// Messages without what follows an alarm: registers and calls, up to the end of the trace.
fn heads<'l>(messages: impl Iterator<Item = &'l str>) -> impl Iterator<Item = &'l str> {
    let mut in_trace = false;
    messages.filter(move |message| {
        let is_head = !in_trace && !message.contains("[ cut here ]");
        if in_trace {
            in_trace = !message.contains("---[ end trace");
        } else if is_head {
            in_trace = STARTS.iter().any(|start| message.contains(start));
        }
        is_head
    })
}

/// Why the message may stand there; `None` where nothing is known.
fn explained(text: &str) -> Option<&'static str> {
    let (_, why) = EXPLAINED.iter().find(|(known, _)| text.contains(known))?;
    Some(why)
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

    fn kernel(level: u8, text: &str) -> Fact {
        let text = text.to_owned();
        Fact::Kernel { level, text }
    }

    const WARN: &str = "WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1b/0x70";
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
        assert_eq!(
            complaints(&[], LOG),
            [WARN, "Kernel panic - not syncing: luo"]
        );
    }

    #[test]
    fn messages_of_weight_are_complaints_once() {
        let facts = [
            kernel(4, "refcount_t: underflow; use-after-free."),
            kernel(4, WARN),
            kernel(4, "RAX: 0"),
            kernel(4, "---[ end trace 0 ]---"),
            kernel(3, "luo: failed"),
            kernel(5, "a notice"),
            kernel(4, "tsc: Unable to calibrate against PIT"),
        ];
        let expected = [
            "refcount_t: underflow; use-after-free.",
            WARN,
            "luo: failed",
            "Kernel panic - not syncing: luo",
        ];
        assert_eq!(complaints(&facts, LOG), expected);
        assert_eq!(complaints(&facts[5..], "quiet"), [""; 0]);
    }

    #[test]
    fn what_is_explained_says_why() {
        for (known, why) in EXPLAINED {
            assert!(!why.is_empty() && explained(known) == Some(why));
        }
    }

    #[test]
    fn the_last_words() {
        assert!(
            tail(LOG).ends_with("Run /init as init process\n  Kernel panic - not syncing: luo")
        );
    }
}
