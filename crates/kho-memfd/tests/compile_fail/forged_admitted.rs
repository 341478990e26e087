use kho_compat::{Admitted, Manifest};

fn forge(manifest: Manifest) -> Admitted {
    Admitted { manifest }
}

fn default() -> Admitted {
    Admitted::default()
}

fn main() {}
