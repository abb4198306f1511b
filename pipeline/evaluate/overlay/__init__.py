"""Maps over any video: where does its sound come from, moment by moment?"""
