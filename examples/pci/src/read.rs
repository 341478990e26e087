//! Reading the table of devices.

use std::fmt;

use kho_compat::Compat;
use kho_core::{Reading, Subtree};
use kho_mem::{Damage, Defect, Link, Located, PhysAddr, PhysMemExt};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::generation::NAME;
use crate::v1::Header;
use crate::{v1, v2};

/// The largest table that is read.
const TABLE_MAX: u64 = 1 << 20;

/// A device, whichever version it was read of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its segment: 0 before version 2.
    pub segment: u32,
    /// Bus, device and function.
    pub bdf: u32,
    /// Its vendor.
    pub vendor: u16,
    /// What the vendor calls it.
    pub device: u16,
    /// Where its configuration space lies, a page. None before version 2.
    pub config: Option<Link>,
}

/// The devices of a handover.
#[derive(Clone, Debug)]
pub struct Devices {
    pub(crate) subtree: Subtree,
    pub(crate) compatible: String,
    /// The version, and the devices; `None` for a version that is not read here.
    pub(crate) table: Option<(u32, Vec<Device>)>,
}

impl Devices {
    /// Reads the devices in `subtree` and claims their configuration spaces.
    ///
    /// # Errors
    ///
    /// The table is damaged, or a configuration space is no preserved page of its own.
    pub fn read(reading: &mut Reading<'_>, subtree: &Subtree) -> Result<Self, Damage> {
        reading.within(NAME, |reading| read(reading, subtree))
    }

    /// Its string, as it stands there.
    #[must_use]
    pub fn compatible(&self) -> &str {
        &self.compatible
    }

    /// The devices; none of a version that is not read here.
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        self.table.as_ref().map_or(&[], |(_, devices)| devices)
    }
}

/// `0000:00:1f.2`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bus, slot, function) = (self.bdf >> 8, self.bdf >> 3 & 0x1f, self.bdf & 7);
        write!(f, "{:04x}:{bus:02x}:{slot:02x}.{function}", self.segment)
    }
}

/// Checks a bus, device and function that stand at `at`.
pub(crate) fn bdf(bdf: u32, at: PhysAddr) -> Result<(), Damage> {
    if bdf <= 0xffff {
        return Ok(());
    }
    Err(Damage::new(Defect::BadValue, "bdf", at)
        .found(format!("{bdf:#x}"))
        .expected("at most 0xffff"))
}

fn read(reading: &mut Reading<'_>, subtree: &Subtree) -> Result<Devices, Damage> {
    let (at, size) = (subtree.addr, subtree.size);
    if !(size_of::<Header>() as u64..=TABLE_MAX).contains(&size) {
        return Err(Damage::new(Defect::BadSize, "blob", at)
            .found(format!("{size} bytes"))
            .expected(format!("{} to {TABLE_MAX} bytes", size_of::<Header>())));
    }
    // Bounded just above.
    let len = usize::try_from(size).unwrap_or(usize::MAX);
    let mem = reading.mem();
    let bytes = mem
        .bytes(at, len)
        .map_err(|error| error.damage("blob", at))?;
    let (header, rest) = bytes.split_at(size_of::<Header>());
    let header = Header::read_from_bytes(header).unwrap_or_else(|_| unreachable!());
    let header = Located::new(header, at);
    let compatible = string(&header)?;
    let version = Compat::parse(&compatible)
        .ok()
        .filter(|compat| compat.base().name() == NAME);
    let version = version.map(|compat| compat.base().version());
    let table = Table {
        bytes: rest,
        at: PhysAddr::new(at.get() + size_of::<Header>() as u64),
        count: header.count.get(),
        count_at: header.addr_of(|header| &header.count),
    };
    let devices = match version {
        Some(1) => Some(table.decode(v1::decode)?),
        Some(2) => Some(table.decode(v2::decode)?),
        // Of another version what follows the header is not ours to interpret.
        _ => None,
    };
    for device in devices.iter().flatten() {
        if let Some(config) = device.config {
            let claimed = reading.page(config);
            claimed.map_err(|damage| damage.within(format!("device {device}")))?;
        }
    }
    Ok(Devices {
        subtree: subtree.clone(),
        compatible,
        table: version.zip(devices),
    })
}

/// The string that the header carries.
fn string(header: &Located<Header>) -> Result<String, Damage> {
    let damage = |defect| Damage::new(defect, "compatible", header.addr_of(|h| &h.compatible));
    let field = header.compatible;
    let len = field.iter().position(|byte| *byte == 0);
    let text = len.map(|len| &field[..len]);
    let text = text.ok_or_else(|| damage(Defect::Unterminated))?;
    match std::str::from_utf8(text) {
        Ok(text) if kho_mem::is_printable(text) => Ok(text.to_owned()),
        _ => Err(damage(Defect::BadText).found(text.escape_ascii())),
    }
}

struct Table<'b> {
    bytes: &'b [u8],
    at: PhysAddr,
    count: u32,
    count_at: PhysAddr,
}

impl Table<'_> {
    /// The devices of one version, as many as the header says.
    fn decode<T>(
        &self,
        decode: fn(&Located<T>) -> Result<Device, Damage>,
    ) -> Result<Vec<Device>, Damage>
    where
        T: FromBytes + Immutable + KnownLayout + Unaligned + Copy,
    {
        let all = u64::from(self.count) * size_of::<T>() as u64;
        if all != self.bytes.len() as u64 {
            return Err(Damage::new(Defect::BadCount, "count", self.count_at)
                .found(self.count)
                .expected(format!("as many as fill {} bytes", self.bytes.len())));
        }
        Located::<T>::all(self.bytes, self.at)
            .map(|ser| decode(&ser))
            .collect()
    }
}
