/*
 * Prints linux-7.3.4-uapi.json: the ioctls of /dev/liveupdate as the kernel's header for programs has them.
 *
 * The header is that of Debian's linux-libc-dev 7.3.4-1~bpo13+1 (trixie-backports), unpacked into HEADERS:
 *
 *	cc -I HEADERS/usr/include -o uapi uapi.c && ./uapi > linux-7.3.4-uapi.json
 */
#include <stddef.h>
#include <stdio.h>

#include <linux/liveupdate.h>

#define TYPE(x) _Generic((x), __u32: "__u32", __s32: "__s32", __u64: "__u64", __u8 *: "__u8[64]")
#define MEMBER(type, member, end)                                                      \
	printf("   {\"name\": \"%s\", \"type\": \"%s\", \"offset\": %zu, \"size\": %zu}%s\n", \
	       #member, TYPE(((struct type *)0)->member), offsetof(struct type, member),  \
	       sizeof(((struct type *)0)->member), end)
#define STRUCT(type, members, end)                                            \
	printf("  \"%s\": {\"size\": %zu, \"members\": [\n", #type, sizeof(struct type)); \
	members                                                               \
	printf("  ]}%s\n", end)
#define NUMBER(name, end) printf("  \"%s\": %u%s\n", #name, (unsigned int)(name), end)

_Static_assert(LIVEUPDATE_SESSION_NAME_LENGTH == 64, "TYPE() says so");

int main(void)
{
	printf("{\n \"structs\": {\n");
#define SESSION(type) STRUCT(type, MEMBER(type, size, ","); MEMBER(type, fd, ","); MEMBER(type, name, "");, ",")
	SESSION(liveupdate_ioctl_create_session);
	SESSION(liveupdate_ioctl_retrieve_session);
#define FD(type) STRUCT(type, MEMBER(type, size, ","); MEMBER(type, fd, ","); MEMBER(type, token, "");, ",")
	FD(liveupdate_session_preserve_fd);
	FD(liveupdate_session_retrieve_fd);
	STRUCT(liveupdate_session_finish, MEMBER(liveupdate_session_finish, size, ",");
	       MEMBER(liveupdate_session_finish, reserved, "");, ",");
	STRUCT(liveupdate_session_get_name, MEMBER(liveupdate_session_get_name, size, ",");
	       MEMBER(liveupdate_session_get_name, reserved, ",");
	       MEMBER(liveupdate_session_get_name, name, "");, "");
	printf(" },\n \"numbers\": {\n");
	NUMBER(LIVEUPDATE_IOCTL_TYPE, ",");
	NUMBER(LIVEUPDATE_SESSION_NAME_LENGTH, ",");
	NUMBER(LIVEUPDATE_IOCTL_CREATE_SESSION, ",");
	NUMBER(LIVEUPDATE_IOCTL_RETRIEVE_SESSION, ",");
	NUMBER(LIVEUPDATE_SESSION_PRESERVE_FD, ",");
	NUMBER(LIVEUPDATE_SESSION_RETRIEVE_FD, ",");
	NUMBER(LIVEUPDATE_SESSION_FINISH, ",");
	NUMBER(LIVEUPDATE_SESSION_GET_NAME, "");
	printf(" }\n}\n");
	return 0;
}
