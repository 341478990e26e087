//! What is asked of the next end.

use std::collections::{BTreeMap, BTreeSet};

use kho_compat::{Carrier, Token};

use crate::end::{End, Listed, What};
use crate::item::Item;

/// What is asked of the next one.
#[derive(Default)]
pub(crate) struct Wanted {
    tokens: BTreeSet<Token>,
    /// Names of handlers and FLBs.
    pub(crate) handlers: BTreeMap<String, Carrier>,
    /// Components whose masks are known.
    pub(crate) masks: BTreeSet<String>,
}

impl Wanted {
    pub(crate) fn of(from: &End) -> Self {
        let mut wanted = Self::default();
        match &from.what {
            What::Kernel(kernel) => {
                for seen in &kernel.seen {
                    if let Some(carrier) = seen.carrier {
                        wanted.add(carrier, seen.compat.tokens().cloned());
                    }
                }
                let masks = kernel.masks.iter().map(|masks| masks.name.clone());
                wanted.masks.extend(masks);
            }
            What::Dump(dump) => wanted.items(&dump.items),
            What::Listed(Listed {
                in_use: Some((items, _)),
                ..
            }) => wanted.items(items),
            What::Listed(listed) => {
                for ability in listed.side.abilities() {
                    let versions = ability.writable();
                    let tokens = versions.filter_map(|v| Token::new(&ability.name, v).ok());
                    wanted.add(ability.carrier.unwrap_or(Carrier::Table), tokens);
                    if ability.features.is_some() {
                        wanted.masks.insert(ability.name.clone());
                    }
                }
            }
        }
        wanted
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            let entry = &item.entry;
            self.add(entry.carrier, item.tokens().into_iter());
            if entry.carrier == Carrier::Features {
                self.masks.insert(entry.found.clone());
            }
        }
    }

    fn add(&mut self, carrier: Carrier, tokens: impl Iterator<Item = Token>) {
        for (index, token) in tokens.enumerate() {
            if index == 0 && matches!(carrier, Carrier::FileHandler | Carrier::Flb) {
                self.handlers.insert(token.name().to_owned(), carrier);
            }
            self.tokens.insert(token);
        }
    }

    pub(crate) fn versions<'w>(&'w self, name: &'w str) -> impl Iterator<Item = u32> + 'w {
        let of_it = self.tokens.iter().filter(move |token| token.name() == name);
        of_it.map(Token::version)
    }
}
