"""Says what updates of the Bot API say, as a second opinion on what the archive keeps of them.

python3 extract.py ACCOUNT FILE... reads one Update from each file, as the bot ACCOUNT received it, and prints one line of JSON for
each, in the same order; what an update does not say is left out. It is written after https://core.telegram.org/bots/api (10.3), shares
nothing with the normaliser, and uses the standard library alone.
"""

import codecs
import hashlib
import json
import re
import sys

# The fields of an Update, in the order of the documentation: should one hold several, the first counts.
KINDS = """message edited_message channel_post edited_channel_post business_message edited_business_message guest_message
    business_connection deleted_business_messages message_reaction message_reaction_count inline_query chosen_inline_result
    callback_query shipping_query pre_checkout_query purchased_paid_media poll poll_answer my_chat_member chat_member
    chat_join_request chat_boost removed_chat_boost managed_bot subscription stopped_message_generation""".split()
MESSAGES = KINDS[:7]

# The fields of a Message that hold a file, and then those that hold any other content. An animation "also sets document" and a live photo
# photo, a venue location: what says more stands first.
FILES = "animation live_photo photo video document audio voice video_note sticker paid_media".split()
CONTENTS = """story rich_message checklist contact dice game poll venue location new_chat_members left_chat_member chat_owner_left
    chat_owner_changed new_chat_title new_chat_photo delete_chat_photo group_chat_created supergroup_chat_created
    channel_chat_created message_auto_delete_timer_changed migrate_to_chat_id migrate_from_chat_id pinned_message invoice
    successful_payment refunded_payment users_shared chat_shared gift unique_gift gift_upgrade_sent connected_website
    write_access_allowed passport_data proximity_alert_triggered boost_added chat_background_set checklist_tasks_done
    checklist_tasks_added community_chat_added community_chat_joined community_chat_removed direct_message_price_changed
    forum_topic_created forum_topic_edited forum_topic_closed forum_topic_reopened general_forum_topic_hidden
    general_forum_topic_unhidden giveaway_created giveaway giveaway_winners giveaway_completed managed_bot_created
    paid_message_price_changed poll_option_added poll_option_deleted suggested_post_approved suggested_post_approval_failed
    suggested_post_declined suggested_post_paid suggested_post_refunded video_chat_scheduled video_chat_started video_chat_ended
    video_chat_participants_invited web_app_data""".split()

ENTITY = "type offset length url language custom_emoji_id unix_time date_time_format".split()


def one_unit(error):
    """Stands in for bytes that are no UTF-8: a surrogate written as a character is one UTF-16 code unit, so is any other byte."""
    bad = error.object[error.start : error.start + 3]
    size = 3 if re.fullmatch(rb"\xed[\xa0-\xbf][\x80-\xbf]", bad) else 1
    return "\ufffd", error.start + size


codecs.register_error("one_unit", one_unit)


def parse(raw):
    """Reads JSON; of members of one name the last counts, and what a text can't hold is U+FFFD."""
    return clean(json.loads(raw.decode("utf-8", "one_unit").removeprefix("\ufeff")))


def clean(value):
    if isinstance(value, str):
        return re.sub("[\0\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    return value


def at(value, *path):
    """Follows names into objects; None where one is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def scope(account, kind, message):
    """Whose numbering the message's id belongs to: nobody's in channels and supergroups, and the account's own elsewhere."""
    apart = None
    if at(message, "business_connection_id"):
        apart = "business:" + message["business_connection_id"]
    elif kind == "guest_message":
        apart = "guest:" + message["guest_query_id"]
    elif at(message, "ephemeral_message_id"):
        apart = "ephemeral:%d" % account
    if apart:
        return -1 - (int.from_bytes(hashlib.sha256(apart.encode()).digest()[:8], "big") >> 2)
    chat = message["chat"]
    if chat.get("type") in ("supergroup", "channel", "private", "group"):
        return 0 if chat["type"] in ("supergroup", "channel") else account
    return 0 if chat["id"] <= -1_000_000_000_000 else account


def message_id(message):
    """The message_id of an ephemeral message is 0; it has a number of its own."""
    return at(message, "message_id") or at(message, "ephemeral_message_id")


def files(message):
    """The files of a message by what they are: of each photo the size with the most pixels, and then with the most bytes."""
    name = next((name for name in FILES if message.get(name)), None)
    items = [{name: message[name]}] if name else []
    if name == "paid_media":
        items = message["paid_media"]["paid_media"]
    for item in items:
        kind = next((kind for kind in ("live_photo", "photo", *FILES) if item.get(kind)), None)
        if kind == "photo":
            size = max(item[kind], key=lambda s: (s["width"] * s["height"], s.get("file_size", 0)))
            yield {"kind": kind, **size}
        elif kind:
            yield {"kind": kind, **item[kind]}


def of_message(message):
    body, marks = ("text", "entities") if message.get("text") else ("caption", "caption_entities")
    found = list(files(message))
    reply = message.get("reply_to_message") or message.get("external_reply")
    elsewhere = at(reply, "chat", "id")
    present = [name for name in FILES + CONTENTS if message.get(name) not in (None, False)]
    return {
        "content": "text" if body == "text" else present[0] if present else "unknown",
        "edit_date": message.get("edit_date"),
        "text": message.get(body),
        "entities": [
            {**{name: e[name] for name in ENTITY if name in e}, **({"user_id": e["user"]["id"]} if "user" in e else {})}
            for e in message.get(marks) or []
        ],
        "files": [{"kind": f["kind"], "file_unique_id": f["file_unique_id"]} for f in found],
        "file_unique_id": max(found, key=lambda f: f.get("file_size", 0))["file_unique_id"] if found else None,
        "media_group_id": message.get("media_group_id"),
        "reply_to_chat_id": elsewhere if elsewhere != message["chat"]["id"] else None,
        # An ordinary message can't name an ephemeral one by a number that others would read as its own.
        "reply_to_message_id": message_id(reply) if message.get("ephemeral_message_id") else at(reply, "message_id"),
        "quote": at(message, "quote", "text"),
        "message_thread_id": message.get("message_thread_id"),
        "is_topic_message": message.get("is_topic_message"),
        "migrate_to_chat_id": message.get("migrate_to_chat_id"),
        "migrate_from_chat_id": message.get("migrate_from_chat_id"),
    }


def kind_of(update):
    given = [name for name, value in update.items() if name != "update_id" and value is not None]
    known = [name for name in KINDS if name in given]
    named = [name for name in given if re.fullmatch("[a-z_]{1,64}", name)]
    return known[0] if known else named[0] if named else None


def extract(account, update):
    kind = kind_of(update)
    told = update[kind] if kind else {}
    message = told if kind in MESSAGES else at(told, "message")
    # A channel or group that votes or reacts does so itself; the user beside it is a stand-in.
    acting = at(told, "sender_chat", "id") or at(told, "actor_chat", "id") or at(told, "voter_chat", "id")
    person = at(told, "from", "id") or at(told, "boost", "source", "user", "id")
    if not person and not (kind == "poll_answer" and acting):
        person = at(told, "user", "id")
    answer = {
        "update_id": update["update_id"],
        "kind": kind or "unknown",
        "chat_id": at(told, "chat", "id") or at(message, "chat", "id") or at(told, "voter_chat", "id") or at(told, "user_chat_id"),
        "message_id": message_id(message) or at(told, "message_id"),
        "message_ids": at(told, "message_ids"),
        "business_connection_id": at(told, "business_connection_id"),
        "from_id": person,
        "sender_chat_id": acting,
        "date": at(told, "date") or at(told, "remove_date") or at(told, "boost", "add_date"),
    }
    if kind in MESSAGES:
        answer.update(of_message(message))
    if kind in KINDS and (answer["message_id"] or answer["message_ids"]):
        answer["scope"] = scope(account, kind, message or told)
    return {name: value for name, value in answer.items() if value}


def main(account, *names):
    for name in names:
        with open(name, "rb") as file:
            print(json.dumps(extract(int(account), parse(file.read()))))


if __name__ == "__main__":
    main(*sys.argv[1:])
