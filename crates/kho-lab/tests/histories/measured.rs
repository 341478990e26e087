//! What real kernels did stands beside the model.

use super::*;
use kho_lab::Happened;

#[test]
fn each_pair_of_the_kernels_that_were_run_says_what_they_did() {
    let run = run("linux");
    let measured = run.measured();
    assert_eq!(measured.len(), 36);
    for matrix in &run.policies {
        let cells = matrix.cells.iter().flatten();
        assert_eq!(cells.filter(|cell| cell.measured.is_some()).count(), 36);
    }
    let name = |place: usize| run.releases[place].as_str();
    let differ = measured.iter().filter(|cell| cell.differs());
    let differ: Vec<_> = differ
        .map(|cell| {
            let (from, to) = (name(cell.from), name(cell.to));
            (from, to, cell.model.unwrap(), cell.measured.happened)
        })
        .collect();
    assert_eq!(
        differ,
        [
            ("6.19", "6.17", Kind::Rejected, Happened::Corrupted),
            ("6.19", "6.18", Kind::Rejected, Happened::PartlyLost),
            ("6.19", "6.19", Kind::Accepted, Happened::PartlyLost),
        ]
    );
    let json = serde_json::to_value(&run).unwrap();
    let cell = &json["policies"][0]["cells"][1][3]["measured"];
    assert_eq!(cell["happened"], "crashed", "{cell}");
    assert_eq!(cell["kernels"], serde_json::json!(["6.17.8", "6.18.15"]));
}

#[test]
fn without_the_policy_of_the_kernels_nothing_is_compared() {
    let policies: [&dyn Policy; 1] = [&kho_compat::policy::NewestCommon];
    let run = Run::new(&history("linux"), &policies, &mut |_, _| true);
    let run = run.unwrap().unwrap();
    assert!(run.measured().iter().all(|cell| cell.model.is_none()));
    assert_eq!(run.measured().len(), 36);
}

#[test]
fn what_was_measured_names_releases_and_kernels_that_are_there() {
    let file = |updates: &str| {
        let text = builtin("transition").unwrap();
        let head = "[measured]\npolicy = \"composite-exact\"\nsource = \"made up\"\n";
        let kernels = "kernels = { 1 = \"a\", 2 = \"b\" }\n";
        History::parse(&format!("{text}\n{head}{kernels}{updates}"))
    };
    let update = |to: &str| {
        let to = format!("to = {to}\nhappened = \"restored\"\n");
        format!("[[measured.updates]]\nfrom = \"1\"\n{to}")
    };
    assert!(file(&update("[\"2\"]")).is_ok());
    let cases = [
        (
            update("[\"9\"]"),
            "from `1` to `9`: there is no such release",
        ),
        (
            update("[\"3\"]"),
            "from `1` to `3`: no kernel of the release was run",
        ),
        (
            update("[\"2\", \"2\"]"),
            "from `1` to `2`: it is there twice",
        ),
        (
            update("[\"2\"]").replace("restored", "fine"),
            "unknown variant `fine`",
        ),
    ];
    for (updates, expected) in cases {
        let error = file(&updates).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
