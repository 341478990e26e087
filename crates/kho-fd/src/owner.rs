//! Descriptors in a survey.

use kho_compat::Fact;
use kho_compat::describe::Members;
use kho_core::Reading;
use kho_luo::{Column, File, FileContents, FileOwner};
use kho_mem::{Damage, Located};

use crate::COMPONENT;
use crate::v1::FdSer;

/// The owner of descriptors. What they are open on is not handed over: there is nothing to restore.
const OWNER: FileOwner = FileOwner::new(&COMPONENT, survey);

kho_compat::submit! { OWNER }

#[derive(Debug)]
struct Found(Located<FdSer>);

fn survey(reading: &mut Reading<'_>, file: &File) -> Result<Box<dyn FileContents>, Damage> {
    let link = file.link("descriptor");
    reading.within("fd", |reading| {
        reading.page(link)?;
        Ok(Box::new(Found(reading.follow(link)?)) as Box<dyn FileContents>)
    })
}

impl FileContents for Found {
    fn facts(&self) -> Members {
        let fact = |name: &str, fact: Fact| (name.to_owned(), fact);
        vec![
            fact("number", self.0.number.get().into()),
            fact("kind", self.0.kind.get().into()),
            fact("dev", self.0.dev.get().into()),
            fact("ino", self.0.ino.get().into()),
        ]
    }

    fn columns(&self) -> Vec<Column> {
        let (number, kind) = (self.0.number, self.0.kind);
        let (dev, ino) = (self.0.dev, self.0.ino);
        let text = format!("descriptor {number}, type {kind:#o}, device {dev:#x}, inode {ino}");
        vec![Column::text(text)]
    }
}
