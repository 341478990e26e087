//! The ioctls of `/dev/liveupdate`: the kernel's interface to programs. The crate `liveupdate` knows nothing of ours,
//! so that its structs are described here.

use std::fmt::Write as _;
use std::mem::offset_of;

use kho_abi_check::{Failure, Text};
use kho_compat::{Component, Constant, Field, Generation, Layout, TypeName, constant};
use liveupdate::SessionName;
use liveupdate::abi::{
    CREATE_SESSION, FINISH, FileArg, FinishArg, GET_NAME, NameArg, PRESERVE_FD, RETRIEVE_FD,
    RETRIEVE_SESSION, SESSION_NAME_LEN, SessionArg, TYPE,
};

/// A type as C has it in the arguments.
trait Argument {
    fn name() -> TypeName;
}

impl Argument for u32 {
    fn name() -> TypeName {
        TypeName::new("u32")
    }
}

impl Argument for i32 {
    fn name() -> TypeName {
        TypeName::new("i32")
    }
}

impl Argument for u64 {
    fn name() -> TypeName {
        TypeName::new("u64")
    }
}

impl<const N: usize> Argument for [u8; N] {
    fn name() -> TypeName {
        TypeName::new(&format!("u8[{N}]"))
    }
}

/// The field at `offset` that `get` gets.
fn field<S, T: Argument>(name: &str, offset: usize, _get: fn(&S) -> &T) -> Field {
    Field {
        name: name.to_owned(),
        ty: T::name(),
        offset,
        size: size_of::<T>(),
        bits: None,
    }
}

/// The layout of the argument of an ioctl: its type, what snapshots and C call it, all of its fields.
macro_rules! argument {
    ($name:ident = $type:ident $as:literal, $c_name:literal { $($field:ident),* }) => {
        fn $name() -> Layout {
            // Names every field.
            let _ = |$type { $($field: _),* }: $type| {};
            let (size, align) = (size_of::<$type>(), align_of::<$type>());
            let mut layout = Layout::new($as, Some($c_name), size, align, false);
            layout.fields = vec![$(
                field(stringify!($field), offset_of!($type, $field), |of: &$type| &of.$field)
            ),*];
            layout.constants = vec![Constant::new("SIZE", &$type::SIZE)];
            layout
        }
    };
}

argument!(create = SessionArg "SessionArg", "liveupdate_ioctl_create_session" { size, fd, name });
argument!(take = SessionArg "SessionArg.retrieved", "liveupdate_ioctl_retrieve_session" { size, fd, name });
argument!(preserve = FileArg "FileArg", "liveupdate_session_preserve_fd" { size, fd, token });
argument!(retrieve = FileArg "FileArg.retrieved", "liveupdate_session_retrieve_fd" { size, fd, token });
argument!(finish = FinishArg "FinishArg", "liveupdate_session_finish" { size, reserved });
argument!(name = NameArg "NameArg", "liveupdate_session_get_name" { size, reserved, name });

/// `include/uapi/linux/liveupdate.h`, as Linux 7.3 has it.
const GENERATION: Generation = Generation::new(1)
    .layouts(&[create, take, preserve, retrieve, finish, name])
    .constants(&[
        constant!(TYPE),
        constant!(SESSION_NAME_LEN),
        constant!(CREATE_SESSION),
        constant!(RETRIEVE_SESSION),
        constant!(PRESERVE_FD),
        constant!(RETRIEVE_FD),
        constant!(FINISH),
        constant!(GET_NAME),
    ]);

/// The ioctls of `/dev/liveupdate` as an interface.
pub const IOCTLS: Component = Component::new("liveupdate-ioctls", &[GENERATION])
    .summary("ioctls of /dev/liveupdate: numbers and arguments, which are the kernel's")
    .of_crate("liveupdate")
    .interface();

kho_compat::submit! { IOCTLS }

kho_abi_check::vectors!(IOCTLS.name, [
    "written: names of sessions, for the field of 64 bytes" => names,
]);

/// Which names are passed on, and which are not.
fn names() -> Result<Text, Failure> {
    let mut out = String::new();
    for (what, name) in [
        ("nothing", String::new()),
        ("1 byte", "a".to_owned()),
        ("63 bytes", "a".repeat(63)),
        ("64 bytes", "a".repeat(64)),
        ("a NUL", "a\0b".to_owned()),
        ("a slash", "a/b".to_owned()),
    ] {
        let taken = SessionName::new(name.as_bytes())
            .is_ok_and(|taken| taken.as_bytes() == name.as_bytes());
        let taken = if taken { "is passed on" } else { "is refused" };
        writeln!(out, "{what} {taken}")?;
    }
    Ok(out.into())
}
