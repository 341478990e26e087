//! Sessions, their files, and FLBs.

use kho_testkit::{Anatomy, Memory};

use crate::{FILES, SMALL, THP, file_of};

fn session_count(count: u64) -> impl Fn(&mut Memory, &Anatomy) {
    move |m, a| m.set_u64(a.sessions[1].pa + 72, count)
}

damaged!(
    session_name_empty,
    SMALL,
    ["session 1", "name is empty"],
    |m, a| m.write(a.sessions[1].pa, &[0])
);
damaged!(
    session_name_unterminated,
    SMALL,
    ["session 1", "not terminated"],
    |m, a| {
        m.write(a.sessions[1].pa, &[b'x'; 64]);
    }
);
damaged!(
    session_name_twice,
    SMALL,
    ["session 1", "duplicate"],
    |m, a| {
        let name = m.read(a.sessions[0].pa, 64);
        m.write(a.sessions[1].pa, &name);
    }
);
damaged!(
    session_without_file_set,
    SMALL,
    ["session-1", "does not agree"],
    |m, a| {
        m.set_u64(a.sessions[1].pa + 64, 0);
    }
);
damaged!(
    session_count_0,
    SMALL,
    ["session-1", "count does not agree"],
    session_count(0)
);
damaged!(
    session_count_one_more,
    SMALL,
    ["session-1", "count does not agree"],
    session_count(5)
);
damaged!(
    session_count_one_less,
    SMALL,
    ["session-1", "count does not agree"],
    session_count(3)
);
damaged!(
    session_count_huge,
    SMALL,
    ["session-1", "count does not agree"],
    session_count(u64::MAX)
);
address!(sessions_files, SMALL, |a| a.sessions[1].pa + 64, |a| a
    .sessions[0]
    .blocks[0]);
damaged!(
    empty_session_with_a_file_set,
    FILES,
    ["is shared"],
    |m, a| {
        m.set_u64(a.sessions[1].pa + 64, a.sessions[0].blocks[3]);
    }
);

damaged!(
    file_compatible_empty,
    SMALL,
    ["compatible is empty"],
    |m, a| m.write(file_of(a).pa, &[0])
);
damaged!(
    file_compatible_unterminated,
    SMALL,
    ["not terminated"],
    |m, a| m.write(file_of(a).pa, &[b'm'; 48])
);
damaged!(
    file_compatible_not_text,
    SMALL,
    ["not valid text"],
    |m, a| m.write(file_of(a).pa, &[7, 7])
);
damaged!(
    file_version_unknown,
    SMALL,
    ["refused", "memfd-v3", "memfd-v2", "EIO", "session-1"],
    |m, a| {
        m.write(file_of(a).pa, b"memfd-v3");
    }
);
damaged!(
    file_handler_unknown,
    SMALL,
    ["refused", "vfiofd-v1"],
    |m, a| m.write(file_of(a).pa, b"vfiofd-v1")
);
damaged!(
    file_handler_is_no_handler,
    SMALL,
    ["refused", "kho-v4"],
    |m, a| m.write(file_of(a).pa, b"kho-v4\0\0")
);
damaged!(
    file_compatible_not_in_the_grammar,
    SMALL,
    ["refused", "memfd"],
    |m, a| m.write(file_of(a).pa, b"memfd\0")
);
damaged!(token_twice, SMALL, ["token", "duplicate"], |m, a| {
    m.set_u64(file_of(a).pa + 56, m.u64(a.sessions[1].files[0].pa + 56));
});
damaged!(memfd_state_null, SMALL, ["memfd", "null"], |m, a| {
    m.set_u64(file_of(a).pa + 48, 0)
});
address!(memfd_state, SMALL, |a| file_of(a).pa + 48, |a| a.sessions
    [0]
.files[0]
    .data);
damaged!(
    memfd_state_inside_a_folio,
    THP,
    ["inside the order 9 range"],
    |m, a| {
        m.set_u64(a.sessions[0].files[0].pa + 48, 0x3a0_1000);
    }
);

damaged!(flb_pgcnt_0, SMALL, ["pgcnt", "impossible count"], |m, a| m
    .set_u64(a.flbs, 0));
damaged!(flb_pgcnt_huge, SMALL, ["pgcnt"], |m, a| {
    m.set_u64(a.flbs, 1 << 40)
});
damaged!(
    flb_count_above_the_area,
    SMALL,
    ["FLB", "0 to 63"],
    |m, a| m.set_u64(a.flbs + 8, 64)
);
damaged!(flb_count_huge, SMALL, ["0 to 63"], |m, a| {
    m.set_u64(a.flbs + 8, u64::MAX)
});
damaged!(
    flb_count_one_more,
    SMALL,
    ["FLB 3", "name is empty"],
    |m, a| m.set_u64(a.flbs + 8, 4)
);
damaged!(flb_name_empty, SMALL, ["FLB 1", "name is empty"], |m, a| m
    .write(a.flbs + 80, &[0]));
damaged!(
    flb_name_unterminated,
    SMALL,
    ["FLB 1", "not terminated"],
    |m, a| m.write(a.flbs + 80, &[b'f'; 48])
);
damaged!(flb_name_twice, SMALL, ["FLB 1", "duplicate"], |m, a| {
    let name = m.read(a.flbs + 16, 48);
    m.write(a.flbs + 80, &name);
});
damaged!(
    flb_of_no_file,
    SMALL,
    ["FLB 2", "impossible count"],
    |m, a| m.set_u64(a.flbs + 16 + 128 + 56, 0)
);
damaged!(
    flb_of_more_files_than_there_are,
    SMALL,
    ["FLB 2", "13 files"],
    |m, a| {
        m.set_u64(a.flbs + 16 + 128 + 56, 13);
    }
);
