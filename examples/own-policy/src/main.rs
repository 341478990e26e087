//! The `kho` command with the policy `two-speeds` and the history `fleet`.

fn main() -> std::process::ExitCode {
    kho_cli::Kho::new()
        .policies(&[&own_policy_example::TwoSpeeds])
        .histories(&[("fleet", own_policy_example::FLEET)])
        .main()
}
