//! What a real kernel does about a string that it can not restore.

use crate::Carrier;

/// What Linux 7.3.4 does when it is handed a string that it does not know in `carrier`: measured
/// by handing it altered memory, where the sentence says "Linux 7.3.4".
#[must_use]
pub const fn consequence(carrier: Carrier) -> &'static str {
    match carrier {
        Carrier::Root => {
            "Linux 7.3.4 boots as if nothing had been handed over: all preserved state is lost"
        }
        Carrier::Luo => "Linux 7.3.4 stops with a kernel panic: the whole machine is lost",
        Carrier::FileHandler => {
            "Linux 7.3.4 fails every open of /dev/liveupdate with EIO: all sessions are lost"
        }
        Carrier::Metadata => "Linux 7.3.4 warns and restores everything else",
        Carrier::Flb => {
            "Linux 7.3.4 restores everything; where an FLB that it expects is missing, the last finish corrupts a reference count and warns"
        }
        Carrier::Table | Carrier::Features => "Linux 7.3.4 passes it over and restores everything",
        Carrier::Memblock | Carrier::Region | Carrier::Subtree => "not measured",
    }
}
