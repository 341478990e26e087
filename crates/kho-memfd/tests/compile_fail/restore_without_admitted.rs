use kho_core::Handover;
use kho_luo::{IncomingFile, Luo};
use kho_memfd::Memfd;
use kho_radix::Claims;

fn restore(handover: &Handover<'_>, claims: &mut Claims, file: &IncomingFile<'_>) {
    let _ = Memfd::restore(handover, claims, file);
}

fn sessions(luo: &Luo) {
    let _ = luo.restore();
}

fn main() {}
