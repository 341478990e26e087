//! A kernel's command line, read as the kernel reads it.

use std::fmt;

/// The parameters of a kernel's command line, in order: what follows `--` belongs to init.
///
/// ```
/// use kho_preflight::command_line::CommandLine;
///
/// let line = CommandLine::parse("root=/dev/vda kho=on kho=maybe reserve_mem=2M:4096:trace -- kho=off");
/// let kho = line.switch("kho", false);
/// // What the kernel can not parse leaves the switch as it is.
/// assert!(kho.on);
/// assert_eq!(kho.words, ["kho=on"]);
/// assert_eq!(line.regions()[0].to_string(), "reserve_mem=2M:4K:trace");
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandLine {
    words: Vec<(String, Option<String>)>,
}

/// A switch of the command line, such as `kho=on`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Switch {
    /// Whether it is on: each value that the kernel can parse is applied, so the last one counts.
    pub on: bool,
    /// The parameters that the kernel can parse.
    pub words: Vec<String>,
    /// The parameters that it can not parse, and passes over with a message.
    pub invalid: Vec<String>,
}

/// A region of memory that `reserve_mem=SIZE:ALIGN:NAME` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReserveMem {
    /// Bytes.
    pub size: u64,
    /// What its address is a multiple of.
    pub align: u64,
    /// Its name.
    pub name: String,
}

impl CommandLine {
    /// Parses `text`. White space separates parameters, quotes keep it, and `--` ends them.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut quoted = false;
        let words = text.split(|c: char| {
            quoted ^= c == '"';
            !quoted && (c.is_ascii_whitespace() || c == '\0')
        });
        let words = words.filter(|word| !word.is_empty());
        let unquoted = |text: &str| text.trim_matches('"').to_owned();
        let words = words.take_while(|word| *word != "--");
        let words = words.map(|word| match word.split_once('=') {
            Some((name, value)) => (unquoted(name), Some(unquoted(value))),
            None => (unquoted(word), None),
        });
        Self {
            words: words.collect(),
        }
    }

    /// The values of the parameter `name`, in which `-` and `_` are one; `None` for one without a value.
    pub fn values<'c>(&'c self, name: &'c str) -> impl DoubleEndedIterator<Item = Option<&'c str>> {
        let plain = |c: char| if c == '-' { '_' } else { c };
        let words = self.words.iter();
        let of_it = words.filter(move |(word, _)| word.chars().map(plain).eq(name.chars()));
        of_it.map(|(_, value)| value.as_deref())
    }

    /// The value of the last parameter `name`.
    #[must_use]
    pub fn last<'c>(&'c self, name: &'c str) -> Option<&'c str> {
        self.values(name).next_back().flatten()
    }

    /// The switch `name`, which is `default` where no value says otherwise.
    #[must_use]
    pub fn switch(&self, name: &str, default: bool) -> Switch {
        let mut switch = Switch {
            on: default,
            words: Vec::new(),
            invalid: Vec::new(),
        };
        for value in self.values(name) {
            let word = value.map_or_else(|| name.to_owned(), |value| format!("{name}={value}"));
            match value.and_then(boolean) {
                Some(on) => {
                    switch.on = on;
                    switch.words.push(word);
                }
                None => switch.invalid.push(word),
            }
        }
        switch
    }

    /// The regions that it asks for; what the kernel can not parse is left out.
    #[must_use]
    pub fn regions(&self) -> Vec<ReserveMem> {
        let parse = |value: &str| {
            let (size, rest) = bytes(value)?;
            let (align, rest) = bytes(rest.strip_prefix(':')?)?;
            let name = rest.strip_prefix(':')?;
            (size > 0 && !name.trim().is_empty()).then(|| ReserveMem {
                size,
                align,
                name: name.to_owned(),
            })
        };
        self.values("reserve_mem")
            .flatten()
            .filter_map(parse)
            .collect()
    }

    /// Whether a word is left to the boot loader, such as `$kernelopts`.
    #[must_use]
    pub fn variable(&self) -> Option<&str> {
        let mut names = self.words.iter().map(|(name, _)| name.as_str());
        names.find(|name| name.starts_with('$'))
    }

    /// These parameters, then `more`.
    #[must_use]
    pub fn then(mut self, more: Self) -> Self {
        self.words.extend(more.words);
        self
    }
}

impl fmt::Display for ReserveMem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, align) = (short(self.size), short(self.align));
        write!(f, "reserve_mem={size}:{align}:{}", self.name)
    }
}

/// `bytes` as a command line has it: `2M`.
#[must_use]
pub fn short(bytes: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let whole = |shift: &u32| bytes > 0 && bytes.is_multiple_of(1 << shift);
    match units.iter().find(|(shift, _)| whole(shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// What the kernel's `kstrtobool` makes of `value`; `None` where it makes nothing.
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    let mut bytes = value.bytes().map(|byte| byte.to_ascii_lowercase());
    match bytes.next()? {
        b'y' | b't' | b'e' | b'1' => Some(true),
        b'n' | b'f' | b'd' | b'0' => Some(false),
        b'o' => match bytes.next()? {
            b'n' => Some(true),
            b'f' => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The number that `text` begins with, as the kernel's `memparse` reads it, and the rest.
#[must_use]
pub fn bytes(text: &str) -> Option<(u64, &str)> {
    let (radix, digits) = match text.get(..2) {
        Some("0x" | "0X") => (16, text.get(2..)?),
        _ if text.starts_with('0') => (8, text),
        _ => (10, text),
    };
    let end = digits.find(|c: char| !c.is_digit(radix));
    let (number, rest) = digits.split_at(end.unwrap_or(digits.len()));
    let number = u64::from_str_radix(number, radix).ok()?;
    let shift = match rest.bytes().next().map(|unit| unit.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        Some(b'P') => 50,
        Some(b'E') => 60,
        _ => return Some((number, rest)),
    };
    Some((number.checked_mul(1 << shift)?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_as_the_kernel_reads_them() {
        for on in ["1", "y", "Yes", "on", "ON", "true", "t", "enable", "10"] {
            assert_eq!(boolean(on), Some(true), "{on}");
        }
        for off in ["0", "n", "No", "off", "oF", "false", "F", "disabled", "0x1"] {
            assert_eq!(boolean(off), Some(false), "{off}");
        }
        for neither in ["", "o", "2", "maybe", " on", "-1", "\"on"] {
            assert_eq!(boolean(neither), None, "{neither}");
        }
    }

    #[test]
    fn each_value_is_applied_in_order() {
        let on = |text: &str| CommandLine::parse(text).switch("kho", false).on;
        assert!(on("kho=off kho=on"));
        assert!(!on("kho=on kho=off"));
        assert!(on("kho=on kho"));
        assert!(on("kho=on kho=2"));
        assert!(on("\"kho=on\"") && on("kho=\"on\""));
        assert!(!on("quiet -- kho=on") && !on("xkho=on khox=on kho.on"));
        assert!(!on("dyndbg=\"a kho=on\""));
        let bad = CommandLine::parse("kho=maybe").switch("kho", true);
        assert!(bad.on && bad.words.is_empty());
        assert_eq!(bad.invalid, ["kho=maybe"]);
    }

    #[test]
    fn regions_have_a_size_an_alignment_and_a_name() {
        let line = "reserve_mem=2M:4096:a reserve-mem=0x1000:0:b reserve_mem=x:1:c reserve_mem=1M:4K: reserve_mem=1M";
        let regions = CommandLine::parse(line).regions();
        let texts: Vec<_> = regions.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["reserve_mem=2M:4K:a", "reserve_mem=4K:0:b"]);
        assert_eq!(bytes("020"), Some((16, "")));
        assert_eq!(bytes("1Gx"), Some((1 << 30, "x")));
    }
}
