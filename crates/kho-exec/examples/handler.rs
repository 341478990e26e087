//! A handler of one's own: it hands counters over, which are neither memory files nor descriptors.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kho_compat::{Carrier, Component, Generation};
use kho_core::{Attached, Kho, PreservedFolio};
use kho_exec::{Config, FileRef, Host};
use kho_luo::v5::COMPAT_LEN;
use kho_luo::{FileHandler, HandlerError, Retrieve};
use kho_mem::PhysAddr;

/// What is handed over.
#[derive(Default)]
struct Counter(AtomicU64);

/// How it lies in memory has a name and a version. Whoever changes the one raises the other, and
/// says in the third argument which versions are still understood.
const NAME: &str = "counter";
const VERSION: u32 = 1;

kho_compat::submit! {
    Component::new(NAME, &[Generation::new(VERSION)]).summary("counters, in the example of a handler").of_crate(env!("CARGO_PKG_NAME")).carried_in(Carrier::FileHandler).field(COMPAT_LEN)
}

struct CounterHandler;

impl FileHandler for CounterHandler {
    type File = Counter;
    type Preserved = PreservedFolio;

    fn component(&self) -> &'static str {
        NAME
    }

    fn writes(&self) -> &[u32] {
        &[VERSION]
    }

    /// All that may fail or take long: here, a page for the number.
    fn preserve(&self, kho: &Kho, _: &Arc<Counter>) -> Result<PreservedFolio, HandlerError> {
        let page = kho.preserver().alloc_preserve(8);
        page.map_err(HandlerError::new)
    }

    fn unpreserve(&self, _: &Arc<Counter>, page: PreservedFolio) {
        drop(page);
    }

    /// The last word: what the counter is now. The address is what the successor is given.
    fn freeze(
        &self,
        counter: &Arc<Counter>,
        page: &mut PreservedFolio,
    ) -> Result<u64, HandlerError> {
        let now = counter.0.load(Ordering::Relaxed);
        for (byte, now) in page.iter_mut().zip(now.to_le_bytes()) {
            *byte = now;
        }
        Ok(page.addr().get())
    }

    fn unfreeze(&self, _: &Arc<Counter>, _: &mut PreservedFolio) {}

    fn hand_over(&self, _: &Arc<Counter>, page: PreservedFolio) {
        page.hand_over();
    }

    /// The other side. Nothing that another program wrote is trusted: the version was admitted, the
    /// page is nobody else's, and it lies in memory that was handed over.
    fn retrieve(
        &self,
        retrieve: &mut Retrieve<'_>,
        data: u64,
    ) -> Result<Arc<Counter>, HandlerError> {
        let admitted = retrieve.admitted.require(NAME, VERSION);
        admitted.map_err(HandlerError::new)?;
        let (at, mut bytes) = (PhysAddr::new(data), [0; 8]);
        let link = retrieve.link(data, "counter");
        let claimed = retrieve.claims.page(link);
        claimed.map_err(HandlerError::new)?;
        let copied = retrieve.held.copy_to(at, &mut bytes);
        copied.map_err(HandlerError::new)?;
        Ok(Arc::new(Counter(u64::from_le_bytes(bytes).into())))
    }

    /// The number was copied: its page is freed with all that nobody takes.
    fn finish(&self, _: &mut Attached, _data: u64, _: Option<Arc<Counter>>) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::new().handler(CounterHandler);
    kho_exec::answer_manifest!(config);
    let program = std::env::current_exe()?;
    let mut host = Host::start(config)?;
    let counter = host.retrieve::<Counter>("example", 1)?.unwrap_or_default();
    host.finish()?;
    let count = counter.0.fetch_add(1, Ordering::Relaxed);
    println!("program {count}, upgrade {}", host.generation());
    if count == 3 {
        return Ok(());
    }
    Err(host
        .hand_over("example", [(1, counter as FileRef)], Command::new(program))
        .into())
}
