//! Which conditions make two formats of one version.

use super::conditions::{Condition, On, is_experiment};
use super::items::{ConstItem, Sources};
use super::modules::is_within;

impl Sources {
    /// The conditions by which builds differ in a format that has one version. An experimental generation may
    /// be there under a condition, and whole items with it under the same one; so may a component as a whole.
    /// Of files that describe no format `is_guarded` tells which constants stand in a snapshot.
    pub(crate) fn conditional(&self, is_guarded: impl Fn(&str) -> bool) -> Vec<&Condition> {
        let modules = self.conditions.iter().filter(|one| {
            let its = |item: &&ConstItem| is_within(&item.place.file, &one.item);
            let its = self.consts.iter().filter(its);
            let mut its = its
                .filter(|item| item.value.contains("Generation::new("))
                .peekable();
            one.on == On::Module
                && its.peek().is_some()
                && its.all(|item| is_experiment(&item.value))
        });
        let elements = self
            .conditions
            .iter()
            .filter(|one| self.is_experimental(one));
        let own = self.experiments.iter().map(String::as_str);
        let listed = modules.chain(elements).map(|one| one.predicate.as_str());
        let experiments: Vec<&str> = own.chain(listed).collect();
        let is_told = |predicate: &str| experiments.contains(&predicate);
        let differs = |one: &&Condition| match one.on {
            On::Part => true,
            On::Item => !is_told(&one.predicate),
            On::Elsewhere => {
                let mut formats = self.consts_of(&one.item).filter(|item| item.in_format);
                is_guarded(&one.item) && formats.next().is_none() && !is_told(&one.predicate)
            }
            On::List => {
                let positive = one.predicate.strip_prefix("not(");
                let positive = positive.and_then(|inner| inner.strip_suffix(')'));
                !is_told(&one.predicate) && !positive.is_some_and(is_told)
            }
            On::Module => {
                let mut formats = self.formats.iter();
                formats.any(|file| is_within(file, &one.item))
                    && !is_told(&one.predicate)
                    && !self.is_whole(&one.item)
            }
            On::Element => !self.is_experimental(one),
        };
        self.conditions.iter().filter(differs).collect()
    }

    /// Whether it stands on an experimental generation in a list.
    fn is_experimental(&self, one: &Condition) -> bool {
        let named = self.constant(&one.item, &one.place.file);
        let named = named.is_some_and(|item| is_experiment(&item.value));
        one.on == On::Element && (named || is_experiment(&one.item))
    }

    /// Whether components are declared in the module, and nowhere else.
    fn is_whole(&self, module: &str) -> bool {
        let inside = |file: &str| is_within(file, module);
        let (within, outside): (Vec<_>, Vec<_>) = self
            .declarations
            .iter()
            .partition(|one| inside(&one.place.file));
        let again = |name| outside.iter().any(|other| self.declared(other) == name);
        !within.is_empty() && !within.iter().any(|one| again(self.declared(one)))
    }
}
