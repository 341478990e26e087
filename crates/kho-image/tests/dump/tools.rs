//! The same against the tools themselves, where they are installed.
