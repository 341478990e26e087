//! What shows that a kernel has KHO, and LUO.

use kho_compat::Carrier;

use super::strings::{self, Region};
use super::{KernelStrings, Trace};

/// Strings that stand alone in a kernel with KHO, whatever its version: a property of the root
/// FDT, source files that warnings name, and symbols (in the tables of an unstripped vmlinux, or
/// of what modules may use).
const KHO_TRACES: &[&str] = &[
    "preserved-memory-map",
    "kernel/liveupdate/kexec_handover.c",
    "kernel/kexec_handover.c",
    "kho_populate",
    "kho_preserve_folio",
];
/// The same for LUO.
const LUO_TRACES: &[&str] = &[
    "kernel/liveupdate/luo_session.c",
    "kernel/liveupdate/luo_file.c",
    "kernel/liveupdate/luo_flb.c",
    "liveupdate_reboot",
    "liveupdate_register_file_handler",
];

/// Fills in what shows that the kernel has KHO and LUO.
pub(super) fn traces(strings: &mut KernelStrings, data: &[u8], regions: &[Region]) {
    let all = || strings.strings.iter().chain(&strings.candidates);
    let of_string = |carrier| {
        let found = all().find(|found| found.carrier() == Some(carrier))?;
        Some(Trace {
            text: found.text.clone(),
            offset: found.offset,
            section: found.section.clone(),
        })
    };
    let listed = |name: &str| {
        let entry = strings.features.iter().find(|entry| entry.name == name)?;
        Some(Trace {
            text: entry.name.clone(),
            offset: entry.offset,
            section: entry.section.clone(),
        })
    };
    let other = |names: &[&str]| {
        regions.iter().find_map(|region| {
            let (at, text) = strings::standing_alone(data, region, names)?;
            Some(Trace {
                text: text.to_owned(),
                offset: region.place(at).0,
                section: region.section.clone(),
            })
        })
    };
    let kho = of_string(Carrier::Root)
        .or_else(|| listed("kho"))
        .or_else(|| other(KHO_TRACES));
    let luo = of_string(Carrier::Luo)
        .or_else(|| listed("luo"))
        .or_else(|| other(LUO_TRACES));
    // There is no LUO without KHO.
    strings.kho = kho.or_else(|| luo.clone());
    strings.luo = luo;
}
