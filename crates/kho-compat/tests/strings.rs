//! Compat strings: what is built is parsed back, and what is not in the grammar is refused where it is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use kho_compat::{Compat, Grammar, GrammarErrorKind, Strings, Token};
use proptest::prelude::*;

fn names() -> impl Strategy<Value = String> {
    // Names may hold "-v" and digits themselves.
    prop_oneof![
        "[a-z][a-z0-9_-]{0,12}",
        "[a-z]{1,4}-v[0-9]{1,2}",
        Just("v".to_owned())
    ]
}

fn tokens() -> impl Strategy<Value = Token> {
    // But for those that tokens joined by dashes would have.
    (names(), prop_oneof![0u32..10, any::<u32>()]).prop_filter_map(
        "dash form",
        |(name, version)| match Token::new(&name, version) {
            Err(error) if error.kind == GrammarErrorKind::DashForm => None,
            token => Some(token.unwrap()),
        },
    )
}

/// A byte that no compat string has anywhere.
fn foreign() -> impl Strategy<Value = char> {
    any::<char>().prop_filter("foreign", |c| {
        !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-_;".contains(*c))
    })
}

proptest! {
    #[test]
    fn what_is_built_is_parsed_back(base in tokens(), parts in prop::collection::vec(tokens(), 0..6)) {
        let Ok(compat) = Compat::new(base.clone(), parts.clone()) else {
            // Two versions of one component, or the base among its parts.
            let mut names: Vec<_> = parts.iter().map(Token::name).chain([base.name()]).collect();
            names.sort_unstable();
            prop_assert!(names.windows(2).any(|pair| pair[0] == pair[1]));
            return Ok(());
        };
        let text = compat.to_string();
        let parsed = Compat::parse(&text).unwrap();
        prop_assert_eq!(&parsed, &compat);
        prop_assert_eq!(parsed.to_string(), text.clone());
        prop_assert_eq!(parsed.base(), &base);
        let sorted = parsed.parts().windows(2).all(|pair| pair[0].name() < pair[1].name());
        prop_assert!(sorted);
        prop_assert_eq!(parsed.strings() == Strings::Plain, parsed.parts().is_empty());
        prop_assert!(parsed.field_len() > text.len() && parsed.field_len() <= text.len() + 8);
        prop_assert_eq!(parsed.field_len() % 8, 0);
        prop_assert_eq!(Compat::parse_in(&text, parsed.field_len()), Ok(parsed));
        // One byte less than it takes is refused at the last byte there is.
        let error = Compat::parse_in(&text, text.len()).unwrap_err();
        prop_assert_eq!((error.at, error.kind), (text.len() - 1, GrammarErrorKind::TooLong(text.len())));
    }

    #[test]
    fn order_and_equal_tokens_do_not_matter_to_a_lenient_reader(
        base in tokens(), parts in prop::collection::vec(tokens(), 0..6), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..9)
    ) {
        let texts: Vec<_> = parts.iter().map(Token::to_string).collect();
        let more = picks.iter().filter(|_| !texts.is_empty()).map(|pick| texts[pick.index(texts.len())].clone());
        let all: Vec<_> = [base.to_string()].into_iter().chain(texts.clone()).chain(more).collect();
        let text = all.join(";");
        let lenient = Compat::parse_as(&text, Grammar::Lenient);
        match Compat::new(base.clone(), parts) {
            Ok(compat) => prop_assert_eq!(lenient, Ok(compat)),
            Err(_) => {
                // Two versions of one component; the base once more is no part.
                let mut tokens: Vec<Token> = all.iter().map(|text| text.parse().unwrap()).collect();
                tokens.sort();
                tokens.dedup();
                let twice = tokens.windows(2).any(|pair| pair[0].name() == pair[1].name());
                prop_assert_eq!(lenient.is_err(), twice, "{}", text);
            }
        }
        // What is strictly parsed is the same, read leniently.
        if let Ok(strict) = Compat::parse(&text) {
            prop_assert_eq!(Compat::parse_as(&text, Grammar::Lenient), Ok(strict));
        }
    }

    #[test]
    fn what_is_parsed_is_built_back(text in "[a-c;v0-9-]{0,24}|[a-b]-v[0-9](, [a-c]-v[0-9]){0,3}") {
        match Compat::parse(&text) {
            Ok(compat) => prop_assert_eq!(compat.to_string(), text),
            Err(error) => prop_assert!(error.at <= text.len()),
        }
    }

    #[test]
    fn a_foreign_byte_is_refused_where_it_stands(base in tokens(), at in any::<prop::sample::Index>(), byte in foreign()) {
        let mut text = base.to_string();
        let at = at.index(text.len());
        text.insert(at, byte);
        let error = Compat::parse(&text).unwrap_err();
        // What stands before it may end a token too early, which is found first.
        prop_assert!(error.at <= at, "{text:?}: {error}");
    }

    #[test]
    fn no_string_makes_it_panic(text in any::<String>(), field in 0usize..64) {
        let _ = Compat::parse_as(&text, Grammar::Lenient);
        let _ = Compat::parse(&text);
        let _ = Compat::parse_in(&text, field);
    }
}

#[test]
fn a_string_of_a_page_is_too_long() {
    let text = format!("{}-v1", "a".repeat(4092));
    assert_eq!(text.len(), 4095);
    assert!(Compat::parse(&text).is_ok());
    let error = Compat::parse(&format!("a{text}")).unwrap_err();
    assert_eq!(error.at, 4095);
    assert_eq!(error.kind, GrammarErrorKind::TooLong(4096));
}
