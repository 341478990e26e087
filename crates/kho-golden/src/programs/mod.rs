//! What programs write for each other: tickets, messages to a supervisor, manifest files.

mod json;
mod manifest;
mod supervisor;
mod ticket;

kho_abi_check::vectors!(kho_exec::TICKET.name, [
    "written: a ticket of an arena, a program and a descriptor" => ticket::written,
    "read: that ticket, as it is and with one edit each" => ticket::read,
    "read: who made tickets of this format and of another" => ticket::previous,
    "written: the environment of process 12, and names of what is stored" => ticket::environment,
    "read: the environment of process 12, a child of 11" => ticket::addressed,
]);

kho_abi_check::vectors!(kho_exec::SUPERVISOR.name, [
    "written: each message" => supervisor::written,
    "read: messages, as they are and with one edit each" => supervisor::read,
    "read: the environment of a child of 11" => supervisor::environment,
]);

kho_abi_check::vectors!(kho_compat::file::NAME, [
    "written: a file with all members" => manifest::written,
    "written: a file with what it must have" => manifest::least,
    "read: the file with all members, as it is and with one edit each" => manifest::read,
    "written and read: a file with what a side says of how it judges" => manifest::judges,
]);
