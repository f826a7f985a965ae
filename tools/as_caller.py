"""Run a command as the user who called sudo, so that set-up leaves no file of root's behind.

    python tools/as_caller.py COMMAND [ARGUMENT ...]

Without sudo the command runs as it is. Any Python can run this, also one that
is too old for the package.
"""

import os
import pwd
import sys

if os.geteuid() == 0 and os.environ.get("SUDO_USER"):
    user = pwd.getpwnam(os.environ["SUDO_USER"])
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir
os.execvp(sys.argv[1], sys.argv[1:])
