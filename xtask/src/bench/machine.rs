//! What figures were measured on.

use std::process::Command;

/// Where and with what figures were measured: one line.
pub(super) fn describe(native: bool) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = cpu.map_or("an unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = meminfo("MemTotal:").unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cpu}, {cores} cores, {} GiB, Linux {}, {}, {}",
        (memory + (1 << 29)) >> 30,
        kernel.trim().split('-').next().unwrap_or_default(),
        rustc(),
        if native {
            "built for this processor".to_owned()
        } else {
            format!("built for any {}", std::env::consts::ARCH)
        },
    )
}

/// The compiler as it calls itself, without its date.
pub(super) fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output();
    let said = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    let said = said.unwrap_or_default();
    said.split(" (").next().unwrap_or("rustc").trim().to_owned()
}

/// A number of /proc/meminfo, in bytes.
pub(super) fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}
