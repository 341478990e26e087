//! What is left is found, and what is damaged is refused with its address.

use block_alone_example::{RouteSer, find, leave};
use kho_block::SliceMem;
use zerocopy::little_endian::{U32, U64};

fn routes(count: u32) -> Vec<RouteSer> {
    let route = |vector: u32| RouteSer {
        address: U64::new(0xfee0_0000 + u64::from(vector) * 0x1000),
        data: U32::new(vector * 3),
        vector: U32::new(vector),
    };
    (1..=count).map(route).collect()
}

#[test]
fn routes_are_found_in_the_bytes_of_the_arena() {
    // None, one block, two blocks.
    for count in [0, 1, 255, 256, 300] {
        let routes = routes(count);
        let left = leave(&routes).unwrap();
        let memory = SliceMem::new(left.base, &left.bytes);
        assert_eq!(find(&memory, left.tracker, left.routes).unwrap(), routes);
    }
}

#[test]
fn a_count_that_no_block_has_is_refused() {
    let mut left = leave(&routes(300)).unwrap();
    let count = usize::try_from(left.routes.get() - left.base.get()).unwrap() + 8;
    left.bytes[count] = 0;
    let memory = SliceMem::new(left.base, &left.bytes);
    let damage = find(&memory, left.tracker, left.routes).unwrap_err();
    let text = damage.to_string();
    assert!(
        text.starts_with("route set: block 0: count has an impossible count"),
        "{text}"
    );
}
