//! Ways from one release to another.

use super::*;

fn steps(plan: &Plan) -> Vec<(&str, &str, Kind)> {
    let steps = plan.steps.iter();
    steps
        .map(|step| (step.from.as_str(), step.to.as_str(), step.kind))
        .collect()
}

#[test]
fn a_way_back_leads_through_the_transition() {
    let run = run("transition");
    let plan = |policy, from, to| plan(&run.releases, run.matrix(policy).unwrap(), from, to);
    for policy in [
        "semver-range",
        "newest-common",
        "check-at-restore",
        "feature-masks",
        // It would go from 3 to 1 at once, and get it wrong.
        "global-version",
    ] {
        let found = plan(policy, 2, 0).unwrap();
        let expected = [("3", "2", Kind::Accepted), ("2", "1", Kind::Accepted)];
        assert_eq!(steps(&found), expected, "{policy}");
    }
    let found = plan("semver-range", 3, 0).unwrap();
    let expected = [("4", "2", Kind::Degraded), ("2", "1", Kind::Accepted)];
    assert_eq!(steps(&found), expected);
    assert_eq!(found.steps[0].why[0].to_string(), "huge-memfd-v2 is lost");
    // Masks keep 1 from 3, and not from 3 by 2.
    let found = plan("feature-masks", 0, 2).unwrap();
    let expected = [("1", "2", Kind::Accepted), ("2", "3", Kind::Accepted)];
    assert_eq!(steps(&found), expected);
    assert!(plan("semver-range", 1, 1).unwrap().steps.is_empty());
}

#[test]
fn where_there_is_no_way_every_gap_is_named() {
    let run = run("transition");
    let found = plan(&run.releases, run.matrix("composite-exact").unwrap(), 2, 0).unwrap_err();
    assert_eq!(found.reached, ["3", "4"]);
    assert_eq!(found.reaching, ["1", "2"]);
    let gaps = found.gaps.iter().map(|gap| [&*gap.from, &*gap.to]);
    let expected = [["3", "1"], ["3", "2"], ["4", "1"], ["4", "2"]];
    assert_eq!(gaps.collect::<Vec<_>>(), expected);
    for gap in &found.gaps {
        assert_eq!(gap.kind, Kind::Rejected);
        let text = "memfd-v3: it is not `memfd-v2`, byte for byte";
        assert_eq!(gap.why.len(), 1);
        assert_eq!(gap.why[0].to_string(), text, "{} to {}", gap.from, gap.to);
    }
    // From 1 one gets as far as 2, under a policy that would take 1 to 4 and misread it as well.
    let linux = self::run("linux");
    let matrix = linux.matrix("global-version").unwrap();
    let found = plan(&linux.releases, matrix, 0, 9).unwrap_err();
    assert_eq!(found.reached, ["6.16", "6.17"]);
    assert_eq!(found.reaching, ["7.2", "7.3"]);
    assert_eq!(found.gaps.len(), 4);
}
