use kho_luo::{AdmittedFile, Luo};
use kho_memfd::Memfd;
use kho_radix::Reading;

fn restore(reading: &mut Reading<'_>, file: &AdmittedFile<'_>) {
    let _ = Memfd::restore(reading, file);
}

fn sessions(luo: &Luo) {
    let _ = luo.restore();
}

fn main() {}
