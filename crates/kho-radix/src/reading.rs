//! The context of reading preserved memory.

use core::ops::{Deref, DerefMut};

use kho_compat::{Admitted, Announced, Component, Generation, NotAdmitted};
use kho_mem::{Damage, Link, Located, PageSize, PhysMem, PhysMemExt};
use zerocopy::FromBytes;

use crate::{Claims, Preserved, PreservedRange, Root};

/// What every reader of preserved memory needs: the memory, what of it has an owner, and which
/// versions were announced.
///
/// Whoever opened a handover makes one; a crate that reads memory of its own makes one of that and
/// the root of a tracker:
///
/// ```
/// use kho_mem::{Arena, ArenaConfig, Link, PhysAddr, PhysMemExt};
/// use kho_radix::{Preserved, Preserver, Reading};
///
/// let arena = Arena::heap(&ArenaConfig::new(PhysAddr::new(0x1000_0000), 8 << 20))?;
/// let preserver = Preserver::new(arena.clone())?;
/// let mut page = preserver.alloc_preserve(4096)?;
/// page[0] = 7;
/// let page = { let at = page.addr(); page.hand_over(); at };
/// let root = Link::given(preserver.root(), Preserved::ROOT);
/// preserver.hand_over();
///
/// let handed = arena.into_handed().unwrap();
/// let mut reading = Reading::open(&handed, root)?;
/// let link = Link::given(page, "page");
/// reading.page(link)?;
/// assert_eq!(*reading.follow::<u8>(link)?, 7);
/// assert!(reading.page(link).is_err(), "claimed once");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reading<'m> {
    mem: Memory<'m>,
    claims: Held<'m>,
    announced: Announced,
}

#[derive(Clone, Copy)]
struct Memory<'m>(&'m dyn PhysMem);

impl core::fmt::Debug for Memory<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PhysMem")
    }
}

/// Claims of its own, or those of somebody who goes on with them.
#[derive(Debug)]
enum Held<'m> {
    Own(Claims),
    Lent(&'m mut Claims),
}

impl<'m> Reading<'m> {
    /// Reads the tracker whose root node `root` points to: nothing is claimed, nothing announced.
    ///
    /// # Errors
    ///
    /// As [`Preserved::read`].
    pub fn open(mem: &'m dyn PhysMem, root: impl Into<Root>) -> Result<Self, Damage> {
        Ok(Self::new(mem, Claims::new(&Preserved::read(mem, root)?)))
    }

    /// Goes on from `claims`; nothing is announced.
    #[must_use]
    pub fn new(mem: &'m dyn PhysMem, claims: Claims) -> Self {
        Self {
            mem: Memory(mem),
            claims: Held::Own(claims),
            announced: Announced::default(),
        }
    }

    /// As [`Reading::new`], where the claims stay somebody else's.
    #[must_use]
    pub fn lent(mem: &'m dyn PhysMem, claims: &'m mut Claims) -> Self {
        Self {
            mem: Memory(mem),
            claims: Held::Lent(claims),
            announced: Announced::default(),
        }
    }

    /// Sets what was announced.
    #[must_use]
    pub fn with(mut self, announced: Announced) -> Self {
        self.announced = announced;
        self
    }

    /// The memory.
    #[must_use]
    #[inline]
    pub const fn mem(&self) -> &'m dyn PhysMem {
        self.mem.0
    }

    /// The page size of the handover.
    #[must_use]
    #[inline]
    pub const fn page_size(&self) -> PageSize {
        self.claims().page_size()
    }

    /// What was announced of components' versions.
    #[must_use]
    pub const fn announced(&self) -> &Announced {
        &self.announced
    }

    /// What has an owner.
    #[must_use]
    #[inline]
    pub const fn claims(&self) -> &Claims {
        match &self.claims {
            Held::Own(claims) => claims,
            Held::Lent(claims) => claims,
        }
    }

    /// What has an owner, for claims without a link.
    #[inline]
    pub const fn claims_mut(&mut self) -> &mut Claims {
        match &mut self.claims {
            Held::Own(claims) => claims,
            Held::Lent(claims) => claims,
        }
    }

    /// The claims, for whoever goes on with them.
    #[must_use]
    pub fn into_claims(self) -> Claims {
        match self.claims {
            Held::Own(claims) => claims,
            Held::Lent(claims) => claims.clone(),
        }
    }

    /// Runs a step on what hangs on the string `compatible`: it sees the versions that this string
    /// announces.
    pub fn in_string<T>(&mut self, compatible: &str, step: impl FnOnce(&mut Self) -> T) -> T {
        self.announcing(self.announced.in_string(compatible), step)
    }

    /// Runs a step that sees the versions of `announced`.
    pub fn announcing<T>(&mut self, announced: Announced, step: impl FnOnce(&mut Self) -> T) -> T {
        let outer = core::mem::replace(&mut self.announced, announced);
        let done = step(self);
        self.announced = outer;
        done
    }

    /// Runs a step whose damage lies in `path`. If it fails, nothing that it claimed stays claimed.
    ///
    /// # Errors
    ///
    /// Those of the step.
    pub fn within<T>(
        &mut self,
        path: &'static str,
        step: impl FnOnce(&mut Self) -> Result<T, Damage>,
    ) -> Result<T, Damage> {
        self.all_or_none(step).map_err(|damage| damage.within(path))
    }

    /// Runs a step that claims several ranges. If it fails, none of them stays claimed, so that
    /// trying again fails in the same way.
    ///
    /// # Errors
    ///
    /// Those of the step.
    pub fn all_or_none<T, E>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.claims().count();
        let done = step(self);
        if done.is_err() {
            self.claims_mut().take_back_to(before);
        }
        done
    }

    /// The value of type `T` that `link` points to. Nothing is claimed.
    ///
    /// # Errors
    ///
    /// It lies outside memory.
    #[inline]
    pub fn follow<T: FromBytes>(&self, link: Link) -> Result<Located<T>, Damage> {
        self.mem().follow(link)
    }

    /// As [`Claims::folio`].
    ///
    /// # Errors
    ///
    /// As [`Claims::folio`].
    #[inline]
    pub fn folio(&mut self, link: Link) -> Result<PreservedRange, Damage> {
        self.claims_mut().folio(link)
    }

    /// As [`Claims::page`].
    ///
    /// # Errors
    ///
    /// As [`Claims::page`].
    #[inline]
    pub fn page(&mut self, link: Link) -> Result<PreservedRange, Damage> {
        self.claims_mut().page(link)
    }

    /// As [`Claims::bytes`].
    ///
    /// # Errors
    ///
    /// As [`Claims::bytes`].
    #[inline]
    pub fn bytes(&mut self, link: Link, len: u64) -> Result<(), Damage> {
        self.claims_mut().bytes(link, len)
    }

    /// As [`Claims::pages`].
    ///
    /// # Errors
    ///
    /// As [`Claims::pages`].
    #[inline]
    pub fn pages(&mut self, link: Link, pages: u64) -> Result<(), Damage> {
        self.claims_mut().pages(link, pages)
    }

    /// The right to restore what is read.
    pub const fn admitted<'r>(&'r mut self, admitted: &'r Admitted) -> Restoring<'r, 'm> {
        Restoring {
            reading: self,
            admitted,
        }
    }
}

/// A reading of an admitted handover: see [`Reading::admitted`]. Every restore function takes one.
#[derive(Debug)]
pub struct Restoring<'r, 'm> {
    reading: &'r mut Reading<'m>,
    admitted: &'r Admitted,
}

impl Restoring<'_, '_> {
    /// The verdict.
    #[must_use]
    pub const fn verdict(&self) -> &Admitted {
        self.admitted
    }

    /// Checks that the verdict covers `component` with `version`.
    ///
    /// # Errors
    ///
    /// It does not.
    pub fn require(&self, component: &str, version: u32) -> Result<(), NotAdmitted> {
        self.admitted.require(component, version)
    }

    /// The generation of `component` that was handed over: see [`Admitted::found`].
    ///
    /// # Errors
    ///
    /// As [`Admitted::found`].
    pub fn found(&self, component: &Component) -> Result<&'static Generation, NotAdmitted> {
        self.admitted.found(self.announced(), component)
    }

    /// Runs a step on what hangs on the string `compatible`: see [`Reading::in_string`]. It sees the versions
    /// as which the verdict reads it.
    pub fn in_string<T>(
        &mut self,
        compatible: &str,
        step: impl FnOnce(&mut Restoring<'_, '_>) -> T,
    ) -> T {
        let admitted = self.admitted;
        let announced = admitted.announced(&self.announced().in_string(compatible));
        self.reading
            .announcing(announced, |reading| step(&mut reading.admitted(admitted)))
    }

    /// The version of `component` that was announced, or else the one that the verdict is about.
    #[must_use]
    pub fn version_of(&self, component: &str) -> Option<u32> {
        self.admitted.version_for(self.announced(), component)
    }
}

impl<'m> Deref for Restoring<'_, 'm> {
    type Target = Reading<'m>;

    #[inline]
    fn deref(&self) -> &Reading<'m> {
        self.reading
    }
}

impl DerefMut for Restoring<'_, '_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.reading
    }
}
