//! Sessions, their files, and FLBs.

use kho_testkit::{Anatomy, Memory};

use crate::{FILES, SMALL, THP, file_of};

fn session_count(count: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(a.sessions[1].pa + 72, count)
}

damaged! { SMALL;
    session_name_empty: ["session 1", "name is empty"], |m, a| m.write(a.sessions[1].pa, &[0]);
    session_name_unterminated: ["session 1", "not terminated"], |m, a| m.write(a.sessions[1].pa, &[b'x'; 64]);
    session_name_twice: ["session 1", "duplicate"], |m, a| {
        let name = m.read(a.sessions[0].pa, 64);
        m.write(a.sessions[1].pa, &name);
    };
    session_without_file_set: ["session-1", "does not agree"], |m, a| m.set_u64(a.sessions[1].pa + 64, 0);
    session_count_0: ["session-1", "count does not agree"], session_count(0);
    session_count_one_more: ["session-1", "count does not agree"], session_count(5);
    session_count_one_less: ["session-1", "count does not agree"], session_count(3);
    session_count_huge: ["session-1", "count does not agree"], session_count(u64::MAX);
}

address! { SMALL;
    sessions_files: |a| a.sessions[1].pa + 64, |a| a.sessions[0].blocks[0];
    memfd_state: |a| file_of(a).pa + 48, |a| a.sessions[0].files[0].data;
}

damaged! { FILES;
    empty_session_with_a_file_set:
        ["is shared"], |m, a| m.set_u64(a.sessions[1].pa + 64, a.sessions[0].blocks[3]);
}

damaged! { SMALL;
    file_compatible_empty: ["compatible is empty"], |m, a| m.write(file_of(a).pa, &[0]);
    file_compatible_unterminated: ["not terminated"], |m, a| m.write(file_of(a).pa, &[b'm'; 48]);
    file_compatible_not_text: ["not valid text"], |m, a| m.write(file_of(a).pa, &[7, 7]);
    file_version_unknown:
        ["refused", "memfd-v3", "memfd-v2", "EIO", "session-1"], |m, a| m.write(file_of(a).pa, b"memfd-v3");
    file_handler_unknown: ["refused", "vfiofd-v1"], |m, a| m.write(file_of(a).pa, b"vfiofd-v1");
    file_handler_is_no_handler: ["refused", "kho-v4"], |m, a| m.write(file_of(a).pa, b"kho-v4\0\0");
    file_compatible_not_in_the_grammar: ["refused", "memfd"], |m, a| m.write(file_of(a).pa, b"memfd\0");
    token_twice:
        ["token", "duplicate"], |m, a| m.set_u64(file_of(a).pa + 56, m.u64(a.sessions[1].files[0].pa + 56));
    memfd_state_null: ["memfd", "null"], |m, a| m.set_u64(file_of(a).pa + 48, 0);
}

damaged! { THP;
    memfd_state_inside_a_folio:
        ["inside the order 9 range"], |m, a| m.set_u64(a.sessions[0].files[0].pa + 48, 0x3a0_1000);
}

damaged! { SMALL;
    flb_pgcnt_0: ["pgcnt", "impossible count"], |m, a| m.set_u64(a.flbs, 0);
    flb_pgcnt_huge: ["pgcnt"], |m, a| m.set_u64(a.flbs, 1 << 40);
    flb_count_above_the_area: ["FLB", "0 to 63"], |m, a| m.set_u64(a.flbs + 8, 64);
    flb_count_huge: ["0 to 63"], |m, a| m.set_u64(a.flbs + 8, u64::MAX);
    flb_count_one_more: ["FLB 3", "name is empty"], |m, a| m.set_u64(a.flbs + 8, 4);
    flb_name_empty: ["FLB 1", "name is empty"], |m, a| m.write(a.flbs + 80, &[0]);
    flb_name_unterminated: ["FLB 1", "not terminated"], |m, a| m.write(a.flbs + 80, &[b'f'; 48]);
    flb_name_twice: ["FLB 1", "duplicate"], |m, a| {
        let name = m.read(a.flbs + 16, 48);
        m.write(a.flbs + 80, &name);
    };
    flb_of_no_file: ["FLB 2", "impossible count"], |m, a| m.set_u64(a.flbs + 16 + 128 + 56, 0);
    flb_of_more_files_than_there_are: ["FLB 2", "13 files"], |m, a| m.set_u64(a.flbs + 16 + 128 + 56, 13);
}
