//! What is known of a kernel's types.

/// A struct.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Struct {
    pub(super) size: u64,
    pub(super) members: Vec<Member>,
}

/// A struct's member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// Empty for an anonymous struct or union.
    pub(super) name: String,
    pub(super) ty: CType,
    /// Of a bit field: of the integer that holds it.
    pub(super) offset: u64,
    /// Of a bit field: of the integer that holds it.
    pub(super) size: u64,
    /// Of a bit field: its lowest bit, and how many.
    pub(super) bits: Option<(u64, u64)>,
}

/// A type.
#[derive(Clone, Debug)]
pub(super) struct CType {
    /// As C spells it: `phys_addr_t`, `char[65]`.
    pub(super) text: String,
    /// What it comes to, without typedefs and dimensions: `u64`, `u8`, `struct luo_ser`, `union`.
    pub(super) base: String,
    /// How many, for an array; of several dimensions their product, as BTF has it. An array
    /// without bytes is a flexible one.
    pub(super) count: Option<u64>,
}

/// Equal if they are the same in memory: spelling does not count.
impl PartialEq for CType {
    fn eq(&self, other: &Self) -> bool {
        (&self.base, self.count) == (&other.base, other.count)
    }
}

impl Eq for CType {}

impl CType {
    /// A type that is no array.
    pub(super) fn plain(text: impl Into<String>, base: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            base: base.into(),
            count: None,
        }
    }

    /// A type that is its own description.
    pub(super) fn same(text: impl Into<String>) -> Self {
        let text = text.into();
        Self::plain(text.clone(), text)
    }

    pub(super) fn void() -> Self {
        Self::same("void")
    }

    /// An integer. `char` has no sign of its own.
    pub(super) fn integer(name: &str, size: u64, signed: bool) -> Self {
        let sign = if signed && name != "char" { 'i' } else { 'u' };
        Self::plain(name, format!("{sign}{}", size.saturating_mul(8)))
    }

    /// A struct, union or enum by its name, which is empty for an anonymous one.
    pub(super) fn tagged(kind: &str, name: &str) -> Self {
        if name.is_empty() {
            Self::same(kind)
        } else {
            Self::same(format!("{kind} {name}"))
        }
    }

    /// A pointer to `to`.
    pub(super) fn pointer(to: &Self) -> Self {
        let space = if to.text.ends_with('*') { "" } else { " " };
        Self::plain(format!("{}{space}*", to.text), "pointer")
    }

    /// The same by another name.
    pub(super) fn typedef(self, name: &str) -> Self {
        Self {
            text: name.to_owned(),
            ..self
        }
    }

    /// The same with a qualifier: before the type, behind a pointer, once.
    pub(super) fn qualified(self, qualifier: &str) -> Self {
        let text = if self.text.ends_with('*') {
            format!("{}{qualifier}", self.text)
        } else if self.text.starts_with(qualifier) || self.text.contains('*') {
            self.text
        } else {
            format!("{qualifier} {}", self.text)
        };
        Self { text, ..self }
    }

    /// An array of `count`; `None` where there are too many.
    pub(super) fn array(self, count: u64) -> Option<Self> {
        let of = self.text.find('[').unwrap_or(self.text.len());
        let (element, inner) = self.text.split_at(of);
        let dimension = match count {
            0 => "[]".to_owned(),
            count => format!("[{count}]"),
        };
        Some(Self {
            text: format!("{element}{dimension}{inner}"),
            count: Some(self.count.unwrap_or(1).checked_mul(count)?),
            base: self.base,
        })
    }

    /// From C's spelling alone, as facts have it: typedefs that are not known stay as they are.
    pub(super) fn from_text(text: &str) -> Self {
        let mut rest = text;
        for qualifier in ["const ", "volatile ", "const "] {
            rest = rest.strip_prefix(qualifier).unwrap_or(rest);
        }
        if rest.contains("(*") {
            return Self::plain(text, "pointer");
        }
        let (element, dimensions) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
        let element = element.trim_end();
        let base = match known(element) {
            Some(base) => base,
            None if element.contains('*') => "pointer",
            None => element,
        };
        let counts = dimensions.split('[').skip(1);
        let counts = counts.map(|dimension| match dimension.strip_suffix(']')? {
            "" => Some(0),
            number => number.parse::<u64>().ok(),
        });
        let counts = counts
            .into_iter()
            .try_fold(None, |product: Option<u64>, count| {
                Some(Some(product.unwrap_or(1).checked_mul(count?)?))
            });
        // What is no array after all is kept, and equals nothing.
        let Some(count) = counts else {
            return Self::same(text);
        };
        Self {
            text: text.to_owned(),
            base: base.to_owned(),
            count,
        }
    }
}

/// The scalar types that the kernel's sources name, by what they come to on the 64-bit machines that hand
/// over memory.
const KNOWN: [(&str, &str); 9] = [
    ("u8", "u8, __u8, uint8_t, char, unsigned char"),
    (
        "u16",
        "u16, __u16, __le16, uint16_t, short unsigned int, unsigned short",
    ),
    ("u32", "u32, __u32, __le32, uint32_t, unsigned int"),
    (
        "u64",
        "u64, __u64, __le64, uint64_t, phys_addr_t, size_t, uintptr_t, long unsigned int, unsigned long, \
         long long unsigned int, unsigned long long",
    ),
    ("i8", "s8, __s8, int8_t, signed char"),
    ("i16", "s16, __s16, int16_t, short int, short"),
    ("i32", "s32, __s32, int32_t, int"),
    (
        "i64",
        "s64, __s64, int64_t, loff_t, ssize_t, long int, long, long long int, long long",
    ),
    ("bool", "bool, _Bool"),
];

fn known(name: &str) -> Option<&'static str> {
    let mut known = KNOWN.iter();
    let found = known.find(|(_, names)| names.split(", ").any(|known| known == name))?;
    Some(found.0)
}

/// Where a bit field of an integer of `size` bytes lies that starts `start` bits into the struct:
/// the offset of the integer that it starts in, and its lowest bit therein. As pahole has it, for
/// a packed struct's field, too, which may end in the next one.
pub(super) fn place(start: u64, size: u64) -> (u64, u64) {
    let bit = start % size.saturating_mul(8).max(8);
    ((start - bit) / 8, bit)
}
