use kho_compat::{Manifest, Registry, policy};
use kho_luo::Luo;

fn sessions(luo: &Luo, manifest: Manifest) {
    // The verdict of a policy is not the right to restore; what `admit` returns is.
    let verdict = kho_compat::Policy::judge(&policy::SemverRange, &manifest, Registry::linked().unwrap().side());
    let _ = luo.restore(&verdict);
}

fn main() {}
