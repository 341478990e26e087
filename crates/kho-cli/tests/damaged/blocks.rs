//! Linked blocks, of sessions and of files.

use kho_testkit::{Anatomy, Builder, Memory};

use crate::{FILES, SESSIONS};

fn session_block_count(count: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(a.blocks[1] + 8, count)
}

fn file_block_count(count: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(a.sessions[0].blocks[0] + 8, count)
}

address! { SESSIONS;
    session_blocks_next: |a| a.blocks[0], |a| a.metadata;
}

address! { FILES;
    file_blocks_next: |a| a.sessions[0].blocks[1], |a| a.blocks[0];
}

damaged! { SESSIONS;
    session_block_is_its_own_next: ["cycle", "block 1"], |m, a| m.set_u64(a.blocks[1], a.blocks[1]);
    session_blocks_end_in_the_first: ["damaged"], |m, a| m.set_u64(a.blocks[2], a.blocks[0]);
}

damaged! { FILES;
    file_block_is_its_own_next: ["cycle"], |m, a| m.set_u64(a.sessions[0].blocks[2], a.sessions[0].blocks[2]);
    file_blocks_turn_back:
        ["cycle", "block 0"], |m, a| m.set_u64(a.sessions[0].blocks[2], a.sessions[0].blocks[0]);
    file_set_runs_into_the_session_set: ["is shared"], |m, a| m.set_u64(a.sessions[0].blocks[0], a.blocks[0]);
}

damaged! { SESSIONS;
    session_block_count_0: ["session set", "impossible count"], session_block_count(0);
    session_block_count_above_what_fits: ["session set", "impossible count"], session_block_count(52);
    session_block_count_huge: ["session set", "impossible count"], session_block_count(u64::MAX);
    session_block_count_one_less: ["session set", "impossible count"], session_block_count(50);
    session_block_count_2_to_32: ["session set", "impossible count"], session_block_count(1 << 32);
    last_session_block_count_0: ["impossible count"], |m, a| m.set_u64(a.blocks[2] + 8, 0);
    last_session_block_one_too_many: ["session 120", "name is empty"], |m, a| m.set_u64(a.blocks[2] + 8, 19);
    last_session_block_one_too_few: ["FLB", "impossible count"], |m, a| m.set_u64(a.blocks[2] + 8, 17);
}

damaged! { FILES;
    file_block_count_0: ["file set", "impossible count"], file_block_count(0);
    file_block_count_above_what_fits: ["file set", "impossible count"], file_block_count(64);
    file_block_count_huge: ["file set", "impossible count"], file_block_count(1 << 63);
    file_block_count_one_less: ["file set", "impossible count"], file_block_count(62);
    last_file_block_one_too_few: ["count does not agree"], |m, a| m.set_u64(a.sessions[0].blocks[3] + 8, 10);
    last_file_block_one_too_many: ["does not agree"], |m, a| m.set_u64(a.sessions[0].blocks[3] + 8, 12);
}

built! {
    a_chain_of_more_than_10000_blocks: ["too many", "10000"], || {
        let mut b = Builder::new();
        let entries: Vec<[u8; 80]> = (0..10_000u64 * 51 + 1)
            .map(|n| {
                let mut entry = [0; 80];
                entry[..8].copy_from_slice(&(n + 0x0101_0101_0101_0101).to_le_bytes());
                entry
            })
            .collect();
        let head = b.blocks(&entries);
        let area = b.folio(0);
        b.mem.set_u64(area, 1);
        let mut header = b"luo-v5\0\0".to_vec();
        for value in [1, head, area] {
            header.extend(value.to_le_bytes());
        }
        let pa = b.blob(&header);
        b.subtree("LUO", pa, 32);
        b.finish().mem
    };
}
