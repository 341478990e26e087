//! Writing what is to be handed over. What does not fit is an error.

/// A writer's own invariant does not hold. It is a defect of this program, not of what it was given.
/// The step that met it is undone: nothing of it is handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("internal error: {what}: expected {expected}, found {found}")]
#[non_exhaustive]
pub struct Broken {
    /// What was counted.
    pub what: &'static str,
    /// How many the writer relies on.
    pub expected: usize,
    /// How many there are.
    pub found: usize,
}

impl Broken {
    /// An invariant that relies on `expected` of `what`, where `found` are there.
    #[must_use]
    pub const fn new(what: &'static str, expected: usize, found: usize) -> Self {
        Self {
            what,
            expected,
            found,
        }
    }
}

/// Writes `bytes` at offset `at` of `room`.
///
/// # Errors
///
/// They do not fit. Nothing is written then.
#[inline]
pub fn put(room: &mut [u8], at: usize, bytes: &[u8], what: &'static str) -> Result<(), Broken> {
    let (end, found) = (at.saturating_add(bytes.len()), room.len());
    let field = room.get_mut(at..end);
    let field = field.ok_or(Broken::new(what, end, found))?;
    field.copy_from_slice(bytes);
    Ok(())
}

/// Writes `bytes` to the start of `room`, and 0 to the rest.
///
/// # Errors
///
/// They do not fit. Nothing is written then.
pub fn fill(room: &mut [u8], bytes: &[u8], what: &'static str) -> Result<(), Broken> {
    let found = room.len();
    let halves = room.split_at_mut_checked(bytes.len());
    let (head, tail) = halves.ok_or(Broken::new(what, bytes.len(), found))?;
    head.copy_from_slice(bytes);
    tail.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_nothing_is_written() {
        for (at, found) in [(3, 5), (7, 9), (usize::MAX, usize::MAX)] {
            let mut room = [7; 4];
            let error = put(&mut room, at, &[1, 2], "room").unwrap_err();
            assert_eq!((error, room), (Broken::new("room", found, 4), [7; 4]));
        }
        let mut room = [7; 4];
        let error = fill(&mut room, &[1; 5], "room").unwrap_err();
        assert_eq!((error, room), (Broken::new("room", 5, 4), [7; 4]));
        let text = "internal error: room: expected 5, found 4";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn what_fits_is_written() {
        let mut room = [7; 4];
        put(&mut room, 2, &[1, 2], "room").unwrap();
        assert_eq!(room, [7, 7, 1, 2]);
        fill(&mut room, &[3], "room").unwrap();
        assert_eq!(room, [3, 0, 0, 0]);
        fill(&mut room, &[4; 4], "room").unwrap();
        assert_eq!(room, [4; 4]);
    }
}
