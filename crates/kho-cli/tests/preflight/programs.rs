//! Programs, which are asked.

use super::*;

/// A copy of bash, which runs what BASH_ENV names; with the mark of programs that answer, or without.
fn bash(temp: &Temp, name: &str, marked: bool) -> Option<String> {
    let mut bytes = ["/bin/bash", "/usr/bin/bash"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())?;
    if marked {
        bytes.extend(MARKER.bytes());
    }
    let path = temp.file(name, bytes);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    Some(path)
}

fn ask(temp: &Temp, program: &str, script: &str) -> (Output, Duration) {
    let script = temp.file("script", script);
    let since = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["preflight", "--from", &capture("none"), "--to", program])
        .env("BASH_ENV", script)
        .output()
        .unwrap();
    (output, since.elapsed())
}

/// Waits for the end of a process that was killed.
#[track_caller]
fn dies(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(state) if !state.contains(") Z") && !state.contains(") X") => {}
            _ => return,
        }
        assert!(Instant::now() < deadline, "{pid} lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_program_without_the_mark_is_never_run() {
    let temp = Temp::new("unmarked");
    let Some(program) = bash(&temp, "program", false) else {
        return;
    };
    let ran = temp.path("ran");
    let (output, _) = ask(&temp, &program, &format!("echo > {ran}\n"));
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    for part in [
        "can not be asked, and was not run",
        "answer_manifest!();",
        "--to ",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    assert!(!Path::new(&ran).exists());
    // With it, it is.
    let program = bash(&temp, "marked", true).unwrap();
    let (output, _) = ask(&temp, &program, &format!("echo > {ran}\n"));
    assert_eq!(output.status.code(), Some(1));
    assert!(Path::new(&ran).exists(), "{}", text(&output.stderr));
    // A script with the mark is still a script.
    let script = temp.file(
        "script.sh",
        format!("#!/bin/sh\n# {MARKER}\necho > {ran}.too\n"),
    );
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    refused(
        &capture("none"),
        &script,
        1,
        &["a script, which is never run"],
    );
    assert!(!Path::new(&format!("{ran}.too")).exists());
    if Path::new("/bin/true").exists() {
        refused(&capture("none"), "/bin/true", 1, &["was not run"]);
    }
}

#[test]
fn answers_that_are_none() {
    let temp = Temp::new("answers");
    let Some(program) = bash(&temp, "program", true) else {
        return;
    };
    let (output, _) = ask(&temp, &program, "echo '{}'\n");
    has(&text(&output.stderr), "missing field");
    // Of another version: by its name, whatever else there is.
    let next = r#"echo '{"format": "kho-manifest-v2", "sides": [1]}'"#;
    let (output, _) = ask(&temp, &program, next);
    has(
        &text(&output.stderr),
        "its format is `kho-manifest-v2`, expected `kho-manifest-v1`",
    );
    let (output, _) = ask(
        &temp,
        &program,
        "echo \"$KHO_MANIFEST\"; read -r x || echo eof; exit 0\n",
    );
    assert!(text(&output.stderr).contains("the program's answer is no manifest"));
    let (output, _) = ask(&temp, &program, "echo out of order >&2; exit 7\n");
    let error = text(&output.stderr);
    assert!(error.contains("exit code 7: out of order"), "{error}");
    let (output, _) = ask(&temp, &program, "kill -SEGV $$\n");
    has(&text(&output.stderr), "signal 11");
    // Too much, and on standard error as well.
    let (output, took) = ask(&temp, &program, "yes & yes >&2\n");
    has(&text(&output.stderr), "more than 1048576 bytes");
    assert!(took < Duration::from_secs(8));
    // A child that lives on does not hold it up, and does not live on.
    let pid = temp.path("pid");
    let (output, took) = ask(
        &temp,
        &program,
        &format!("sleep 1000 & echo $! > {pid}; echo '{{}}'; exit 0\n"),
    );
    has(&text(&output.stderr), "missing field");
    assert!(took < Duration::from_secs(8));
    let pid = std::fs::read_to_string(pid).unwrap();
    dies(pid.trim());
    // One that may not be executed.
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o644)).unwrap();
    let (output, _) = ask(&temp, &program, "");
    has(&text(&output.stderr), "could not be started");
}

#[test]
fn a_program_that_does_not_answer_is_killed_with_its_children() {
    let temp = Temp::new("patience");
    let Some(program) = bash(&temp, "program", true) else {
        return;
    };
    let pid = temp.path("pid");
    let (output, took) = ask(
        &temp,
        &program,
        &format!("sleep 1000 & echo $! > {pid}; wait\n"),
    );
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    has(&error, "still running after 10 seconds, and was killed");
    assert!(took < Duration::from_secs(20));
    let pid = std::fs::read_to_string(pid).unwrap();
    dies(pid.trim());
}
