//! The command line, and the files that are written.

use super::*;

#[test]
fn wrong_usage_is_told() {
    let temp = Temp::new("usage");
    let dir = by_hand(&temp);
    temp.file("file", b"");
    let (image, file, none) = (temp.path("image"), temp.path("file"), temp.path("none"));
    let before = names_in(&temp);
    #[rustfmt::skip]
    let cases: &[(&[&str], &str)] = &[
        (&[&dir], "--out"),
        (&["--out", &image], "<DIR>"),
        (&[&none, "--out", &image], "none: No such file"),
        (&[&file, "--out", &image], "file: not a directory"),
        (&[&dir, "--out", ".."], "no file's name"),
        (&[&dir, "--out", &dir], "is no regular file"),
        (&[&dir, "--out", "/dev/null"], "is no regular file"),
        (&[&dir, "--out", &format!("{file}/image")], "file is not a directory"),
        (&[&dir, "--out", &image, "--format", "zip"], "elf, raw"),
        (&[&dir, "--out", &image, "--dialect", "zip"], "plain, composite"),
        (&[&dir, "--out", &image, "--base", "0x1000"], "a multiple of 4 MiB"),
        (&[&dir, "--out", &image, "--base", "0xffffffffffc00000"], "2^52"),
        (&[&dir, "--out", &image, "--base", "x"], "a 64-bit number"),
        (&[&dir, "--out", &image, "--memory", "513K"], "a multiple of 4 MiB"),
        (&[&dir, "--out", &image, "--memory", "0"], "at least "),
        (&[&dir, "--out", &image, "--memory", "2T"], "up to 1 TiB"),
    ];
    for (args, expected) in cases {
        let output = kho(&[&["pack"], *args].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(names_in(&temp), before, "{args:?}");
    }
    let help = good(&["pack", "--help"]);
    for word in [
        "manifest.json",
        "IMAGE.json",
        "--base",
        "Examples:",
        "tokens from 1",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn an_image_is_replaced_when_asked_to() {
    let temp = Temp::new("force");
    let dir = by_hand(&temp);
    let image = temp.path("deeper/still/image");
    // The directories on the way are made.
    good(&["pack", &dir, "--out", &image]);
    let first = (
        fs::read(&image).unwrap(),
        fs::read(format!("{image}.json")).unwrap(),
    );
    let is_first = || {
        (
            fs::read(&image).unwrap(),
            fs::read(format!("{image}.json")).unwrap(),
        ) == first
    };
    let output = kho(&["pack", &dir, "--out", &image, "--memory", "1G"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    has(&stderr, "still/image");
    has(&stderr, "--force");
    assert!(is_first());
    // One that fails leaves what was there, forced or not.
    let output = kho(&["pack", &dir, "--out", &image, "--memory", "8M", "--force"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(is_first());
    good(&["pack", &dir, "--out", &image, "--memory", "1G", "--force"]);
    assert_eq!(json_file(format!("{image}.json"))["memory"], 1 << 30);
    // The addresses alone are in the way, too.
    fs::remove_file(&image).unwrap();
    let output = kho(&["pack", &dir, "--out", &image]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("image.json"));
    let entries = fs::read_dir(temp.path("deeper/still")).unwrap();
    assert_eq!(entries.count(), 1);
    // Where one is.
    let output = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["pack", "dir", "--out", "here"])
        .current_dir(temp.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let names = ["deeper", "dir", "here", "here.json"].map(String::from);
    assert_eq!(names_in(&temp), names.into());
}

#[test]
fn an_interrupt_leaves_nothing() {
    let temp = Temp::new("interrupt");
    let file = fs::File::create(temp.file("dir/s/file", b"")).unwrap();
    file.set_len(64 << 30).unwrap();
    let listed = json!({ "token": 1, "path": "s/file", "nr_folios": 16 << 20 });
    let sessions = json!([{ "name": "s", "files": [listed] }]);
    let manifest = json!({ "format": "kho-restore-v1", "sessions": sessions });
    temp.file("dir/manifest.json", manifest.to_string());
    let child = Command::new(env!("CARGO_BIN_EXE_kho"))
        .args(["pack", &temp.path("dir"), "--out", &temp.path("image")])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("nothing was changed"));
    assert_eq!(names_in(&temp), ["dir".to_owned()].into());
}
