//! The Live Update Orchestrator.

mod life;
mod peers;
mod read;
mod written;

kho_abi_check::vectors!("luo", [
    "header of the fifth live update, no session; plain, then composite" => written::header,
    "sessions zeta (beta 9, alpha 3), empty, closed (beta 5), 63 bytes (alpha 2^64-1); \
                a foreign FLB of 2 files" => written::sessions,
    "52 sessions, the first with 64 files; entries of each block, with the first one's" => written::blocks,
    "life of session one (alpha a, beta b), two (alpha c, d), and alpha e, which refuses \
                to freeze" => written::life,
    "header of a session with a file: frozen, thawed, frozen once more" => written::unfrozen,
    "what is read of sessions zeta (9, 3), empty, 63 bytes (2^64-1), and of headers" => read::header,
    "what is read of headers of 40 bytes" => read::composite,
    "what is read of headers of other lengths" => read::sizes,
    "what is read of these sessions: names, files, tokens" => read::sessions,
    "what is read of the FLBs of these sessions" => read::flbs,
    "what is listed with sessions, and what is read of that" => read::listed,
    "life of what was handed over: one (alpha 4, beta 2), two (beta 7, which fails, beta 1)" => life::life,
    "names, tokens, files and FLBs that are not taken" => life::refused,
]);
