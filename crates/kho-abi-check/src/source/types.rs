//! Types of fields: which can not stand in a format, and how large they are in C.

use syn::{Expr, Lit, Type};

use super::best;
use super::items::{Sources, StructItem};

const POINTER: &str = "a pointer means nothing to who reads it";

impl Sources {
    /// Why `ty` can not stand in a format.
    pub(crate) fn bad_type(&self, ty: &Type) -> Option<&'static str> {
        match ty {
            Type::Ptr(_) | Type::Reference(_) | Type::BareFn(_) => Some(POINTER),
            Type::Array(array) => self.bad_type(&array.elem),
            Type::Paren(inner) => self.bad_type(&inner.elem),
            Type::Group(inner) => self.bad_type(&inner.elem),
            Type::Tuple(tuple) => {
                let bad = tuple.elems.iter().find_map(|ty| self.bad_type(ty));
                bad.or(Some("a tuple has no fixed order in memory"))
            }
            Type::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                match name.as_str() {
                    "usize" | "isize" => Some("its size depends on the machine"),
                    "bool" => {
                        Some("only two of its 256 values are allowed: reading another is undefined")
                    }
                    "char" | "Option" => Some(
                        "not every value of its bytes is allowed: reading another is undefined",
                    ),
                    "Box" | "Rc" | "Arc" | "Vec" | "String" | "NonNull" | "AtomicPtr" => {
                        Some(POINTER)
                    }
                    other if self.enums.iter().any(|name| name == other) => {
                        Some("an enum: not every value of its bytes is allowed")
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Where C would put padding into `item`, as far as its types are known: the field behind it,
    /// or `None` for the end.
    pub(crate) fn padding(&self, item: &StructItem) -> Option<Option<String>> {
        let (mut offset, mut most) = (0, 1);
        for field in &item.fields {
            let (size, align) = self.size(&field.ty, &item.place.file)?;
            if offset % align != 0 {
                return Some(Some(field.name.clone()));
            }
            offset = (offset + size) % 8;
            most = most.max(align);
        }
        (offset % most != 0).then_some(None)
    }

    /// Bytes (modulo 8) and alignment of a type in C.
    fn size(&self, ty: &Type, file: &str) -> Option<(u64, u64)> {
        match ty {
            Type::Array(array) => {
                let (size, align) = self.size(&array.elem, file)?;
                if size == 0 {
                    return Some((0, align));
                }
                if let Expr::Lit(len) = &array.len
                    && let Lit::Int(len) = &len.lit
                {
                    let len: u64 = len.base10_parse().ok()?;
                    return Some(((len % 8) * size % 8, align));
                }
                None
            }
            Type::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                match name.as_str() {
                    "u8" | "i8" | "bool" => Some((1, 1)),
                    "u16" | "i16" | "U16" | "I16" => Some((2, 2)),
                    "u32" | "i32" | "U32" | "I32" => Some((4, 4)),
                    "u64" | "i64" | "U64" | "I64" | "usize" | "isize" => Some((0, 8)),
                    name => {
                        let inner = best(self.structs_of(name), |item| item.place.file == file)?;
                        let (mut size, mut most) = (0, 1);
                        for field in &inner.fields {
                            let (bytes, align) = self.size(&field.ty, &inner.place.file)?;
                            size = (size + bytes) % 8;
                            most = most.max(align);
                        }
                        Some((size, if inner.packed { 1 } else { most }))
                    }
                }
            }
            _ => None,
        }
    }
}
