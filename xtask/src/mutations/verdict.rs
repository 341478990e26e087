//! What was said of a case, and whether that is what must be said.

use serde_json::Value;

use super::cases::Case;

/// What the check said.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) exit: u8,
    pub(super) findings: Vec<Value>,
}

/// A member of a finding.
fn member<'f>(finding: &'f Value, key: &str) -> &'f str {
    finding.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Report {
    pub(super) fn new(exit: Option<i32>, json: &Value) -> Result<Self, String> {
        let exit = exit.and_then(|code| u8::try_from(code).ok());
        let exit = exit.ok_or("the check was ended by a signal")?;
        let findings = json.get("findings").and_then(Value::as_array);
        let findings = findings.ok_or("the check's JSON has no findings")?.clone();
        Ok(Self { exit, findings })
    }

    /// The rules that found something, each once.
    pub(super) fn rules(&self) -> Vec<&str> {
        let mut rules = Vec::new();
        for rule in self.findings.iter().map(|finding| member(finding, "rule")) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    }

    pub(super) fn words(&self) -> String {
        let texts: Vec<_> = self.findings.iter().map(Value::to_string).collect();
        texts.join("; ")
    }
}

/// What came of a case.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The compiler refused it.
    NotCompiled(String),
    /// The check ran.
    Said(Report),
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) case: Case,
    pub(super) verdict: Verdict,
    /// What is wrong with what was said.
    pub(super) wrong: Option<String>,
}

impl Row {
    pub(super) fn new(case: Case, verdict: Verdict) -> Self {
        let wrong = wrong(&case, &verdict);
        Self {
            case,
            verdict,
            wrong,
        }
    }

    pub(super) const fn is_right(&self) -> bool {
        self.wrong.is_none()
    }

    /// What was said, in a few words.
    pub(super) fn said(&self) -> String {
        match &self.verdict {
            Verdict::NotCompiled(words) => words.clone(),
            Verdict::Said(report) if report.findings.is_empty() => "nothing".to_owned(),
            Verdict::Said(report) => report.rules().join(", "),
        }
    }

    /// What was found, as the check's JSON has it.
    pub(super) fn findings(&self) -> &[Value] {
        match &self.verdict {
            Verdict::NotCompiled(_) => &[],
            Verdict::Said(report) => &report.findings,
        }
    }

    /// The exit code, where the check ran.
    pub(super) const fn exit(&self) -> Option<u8> {
        match &self.verdict {
            Verdict::NotCompiled(_) => None,
            Verdict::Said(report) => Some(report.exit),
        }
    }
}

fn wrong(case: &Case, verdict: &Verdict) -> Option<String> {
    let expect = &case.expect;
    let report = match (verdict, &expect.compiler) {
        (Verdict::NotCompiled(words), Some(wanted)) if words.contains(wanted.as_str()) => {
            return None;
        }
        (Verdict::NotCompiled(_), None) if expect.or_compiler => return None,
        (Verdict::NotCompiled(words), _) => return Some(format!("does not compile: {words}")),
        (Verdict::Said(_), Some(_)) if !expect.or_compiler => {
            return Some("the compiler let it pass".to_owned());
        }
        (Verdict::Said(report), _) => report,
    };
    if report.exit != expect.exit {
        return Some(format!("exit {}, not {}", report.exit, expect.exit));
    }
    let found = report.rules();
    let has = |rule: &String| found.contains(&rule.as_str());
    if let Some(rule) = expect.rules.iter().find(|rule| !has(rule)) {
        return Some(format!("`{rule}` found nothing"));
    }
    if !expect.any.is_empty() && !expect.any.iter().any(has) {
        return Some(format!("none of {} found anything", expect.any.join(", ")));
    }
    let said = report.words();
    let mut words = expect.words.iter();
    if let Some(word) = words.find(|word| !said.contains(word.as_str())) {
        return Some(format!("{word:?} is not said"));
    }
    let mut findings = report.findings.iter();
    let is_wrong = |finding: &&Value| {
        let is_heavy = ["error", "warning"].contains(&member(finding, "severity"));
        expect.is_silence() || expect.clean && is_heavy
    };
    let finding = findings.find(is_wrong)?;
    let [severity, rule] = ["severity", "rule"].map(|key| member(finding, key));
    Some(format!("{severity}: {rule}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::mutations::cases::Expect;

    fn said(exit: i32, rules: &[&str]) -> Verdict {
        let finding = |rule| json!({"rule": rule, "severity": "error", "title": "pos at 8"});
        let findings: Vec<_> = rules.iter().map(finding).collect();
        Verdict::Said(Report::new(Some(exit), &json!({ "findings": findings })).unwrap())
    }

    fn expect(exit: u8, rules: &[&str]) -> Expect {
        Expect {
            exit,
            rules: rules.iter().map(|&rule| rule.to_owned()).collect(),
            ..Expect::default()
        }
    }

    #[test]
    fn a_row_is_right_only_if_all_that_must_be_said_is_said() {
        let is_right = |expect: &Expect, verdict| {
            let expect = expect.clone();
            let case = Case {
                expect,
                ..Case::default()
            };
            Row::new(case, verdict).is_right()
        };
        let not_compiled = |words: &str| Verdict::NotCompiled(words.to_owned());
        let mut layout = expect(1, &["abi-changed-layout"]);
        let both = ["abi-changed-layout", "dependents"];
        assert!(is_right(&layout, said(1, &both)));
        assert!(!is_right(&layout, said(1, &["abi-changed-constant"])));
        assert!(!is_right(&layout, said(3, &["abi-changed-layout"])));
        assert!(!is_right(&layout, not_compiled("error")));
        layout.words.push("pos at 8".to_owned());
        assert!(is_right(&layout, said(1, &["abi-changed-layout"])));
        layout.words.push("pos at 9".to_owned());
        assert!(!is_right(&layout, said(1, &["abi-changed-layout"])));
        let silence = expect(0, &[]);
        assert!(is_right(&silence, said(0, &[])));
        // A warning alone is a false alarm, though the exit code is 0.
        assert!(!is_right(&silence, said(0, &["constant-unguarded"])));
        let compiler = Expect {
            compiler: Some("size_of".to_owned()),
            ..Expect::default()
        };
        assert!(is_right(&compiler, not_compiled("error: size_of")));
        assert!(!is_right(&compiler, not_compiled("error: other")));
        assert!(!is_right(&compiler, said(0, &[])));
    }
}
