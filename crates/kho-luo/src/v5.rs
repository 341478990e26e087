//! What lies in memory: the LUO header and the entries of its block sets.

use kho_compat::AbiLayout;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The number in `luo-v5`.
pub const VERSION: u32 = 5;

/// The subtree of the root FDT that holds the header.
pub const SUBTREE: &str = "LUO";

/// Bytes of a session's name, NUL included.
pub const SESSION_NAME_LEN: usize = 64;

/// Bytes of a file handler's compat string and of an FLB's name, NUL included.
pub const COMPAT_LEN: usize = 48;

/// Pages of the FLB area.
pub const FLB_PAGES: u64 = 1;

/// The string with its NUL in a field of `N` bytes; `None` where it does not fit.
pub(crate) fn field<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut field = [0; N];
    let room = field.get_mut(..text.len()).filter(|_| text.len() < N)?;
    room.copy_from_slice(text);
    Some(field)
}

/// The header with the plain string `luo-v5`. With a longer one `compatible` grows: its length is
/// the string's with its NUL, rounded up to 8.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_ser", packed)]
pub struct LuoSer {
    /// The compat string, NUL-padded.
    pub compatible: [u8; 8],
    /// How many live updates there were, this one included.
    pub liveupdate_num: U64,
    /// Head of the block set of sessions, 0 for none.
    pub sessions_pa: U64,
    /// Physical address of the FLB area, 0 for none.
    pub flbs_pa: U64,
}

const _: () = assert!(size_of::<LuoSer>() == 32);

/// The header behind its string, whatever that string's length.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
pub struct LuoSerTail {
    /// As in [`LuoSer`].
    pub liveupdate_num: U64,
    /// As in [`LuoSer`].
    pub sessions_pa: U64,
    /// As in [`LuoSer`].
    pub flbs_pa: U64,
}

const _: () = assert!(size_of::<LuoSerTail>() == size_of::<LuoSer>() - 8);

/// The files of a session.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_file_set_ser")]
pub struct FileSetSer {
    /// Head of the block set of files, 0 for none.
    pub files: U64,
    /// How many there are.
    pub count: U64,
}

const _: () = assert!(size_of::<FileSetSer>() == 16);

/// A session.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_session_ser", constants(SESSION_NAME_LEN))]
pub struct SessionSer {
    /// Its name: 1 to 63 bytes and a NUL.
    pub name: [u8; SESSION_NAME_LEN],
    /// Its files.
    pub file_set_ser: FileSetSer,
}

const _: () = assert!(size_of::<SessionSer>() == 80);

/// A file.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_file_ser", constants(COMPAT_LEN))]
pub struct FileSer {
    /// The compat string of its handler.
    pub compatible: [u8; COMPAT_LEN],
    /// The handler's own: a physical address for memfds.
    pub data: U64,
    /// The user's name for the file, unique in the session.
    pub token: U64,
}

const _: () = assert!(size_of::<FileSer>() == 64);

/// The head of the FLB area; FLBs follow.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_flb_header_ser", constants(FLB_PAGES))]
pub struct FlbHeaderSer {
    /// Pages of the area.
    pub pgcnt: U64,
    /// How many FLBs follow.
    pub count: U64,
}

const _: () = assert!(size_of::<FlbHeaderSer>() == 16);

/// A file-lifecycle-bound object.
#[derive(
    AbiLayout, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug,
)]
#[repr(C)]
#[abi(c_name = "luo_flb_ser", constants(COMPAT_LEN))]
pub struct FlbSer {
    /// Its compat string.
    pub name: [u8; COMPAT_LEN],
    /// Its owner's own; not always an address.
    pub data: U64,
    /// How many files depend on it.
    pub count: U64,
}

const _: () = assert!(size_of::<FlbSer>() == 64);
