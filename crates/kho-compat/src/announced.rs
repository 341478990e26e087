//! Which version of a component was announced, and which is written.

use alloc::string::String;
use alloc::sync::Arc;

use crate::{Compat, Component, Generation, Grammar, NotAdmitted, RegistryError, Token};

/// What a handover announces of its components' versions: what it lists beside the strings, and
/// the string of whoever uses a component.
///
/// ```
/// use kho_compat::Announced;
///
/// let handover = Announced::listed([("vmalloc".into(), 2)]);
/// let luo = handover.in_string("luo-v5;block-v1");
/// assert_eq!(luo.version_of("block"), Some(1));
/// assert_eq!(luo.version_of("vmalloc"), Some(2));
/// assert_eq!(luo.version_of("bitmap"), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Announced {
    listed: Arc<[(String, u32)]>,
    string: Option<Arc<Compat>>,
    read_as: ReadAs,
}

/// What a policy reads as another version than is announced: the component, what is announced of it, and the
/// version.
pub(crate) type ReadAs = Arc<[(String, Option<u32>, u32)]>;

impl Announced {
    /// The versions that a version table lists, without a string.
    #[must_use]
    pub fn listed(listed: impl IntoIterator<Item = (String, u32)>) -> Self {
        Self {
            listed: listed.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The same handover as the user of a component sees it whose string is `compatible`. A string
    /// outside the grammar says nothing.
    #[must_use]
    pub fn in_string(&self, compatible: &str) -> Self {
        Self {
            string: Compat::parse_as(compatible, Grammar::Lenient)
                .ok()
                .map(Arc::new),
            ..self.clone()
        }
    }

    /// The same, where these are read as other versions.
    #[must_use]
    pub(crate) fn read_as(&self, read_as: &ReadAs) -> Self {
        Self {
            read_as: Arc::clone(read_as),
            ..self.clone()
        }
    }

    /// The token that the string begins with: the component that uses what hangs on it, and its
    /// version. `None` without a string.
    #[must_use]
    pub fn base(&self) -> Option<&Token> {
        self.string.as_deref().map(Compat::base)
    }

    /// The version of `component` that was announced: by the string, or else by the list. `None`
    /// is the one that plain strings stand for.
    ///
    /// It was announced, not judged: a policy says whether it is restorable.
    #[must_use]
    pub fn version_of(&self, component: &str) -> Option<u32> {
        let string = self.string.as_deref();
        let version = string
            .and_then(|string| named(string, component))
            .or_else(|| {
                let mut listed = self.listed.iter();
                let found = listed.find(|(name, _)| name == component);
                found.map(|(_, version)| *version)
            });
        let mut read_as = self.read_as.iter();
        let found = read_as.find(|(name, of, _)| name == component && *of == version);
        found.map(|(_, _, version)| *version).or(version)
    }

    /// The generation of `component` that was announced. Where none was, it is the one that is read
    /// [unannounced](Component::unannounced).
    ///
    /// # Errors
    ///
    /// Its crate does not know one of that number.
    pub fn generation_of(&self, component: &Component) -> Result<&'static Generation, NotAdmitted> {
        let version = self.version_of(component.name);
        let version = version.unwrap_or_else(|| component.unannounced());
        NotAdmitted::unless_known(component, version)
    }
}

/// The version that a string names of `component`.
fn named(compat: &Compat, component: &str) -> Option<u32> {
    let mut tokens = compat.tokens();
    let token = tokens.find(|token| token.name() == component);
    token.map(Token::version)
}

/// A handover that is being made: which version of a component it writes.
pub trait Writes {
    /// Why it can not write one.
    type Error: From<RegistryError>;

    /// The version of `component` that is written.
    ///
    /// # Errors
    ///
    /// The component is not known, or a version is asked for that its crate does not
    /// [write](Component::writable), or that the dialect can not express.
    fn written(&self, component: &Component) -> Result<u32, Self::Error>;
}
